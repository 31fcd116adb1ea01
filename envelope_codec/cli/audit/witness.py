"""What KMSs have recorded of the use of their keys: a second witness, beside what histories hold."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence

from envelope_codec.cli.audit.verdict import date_text
from envelope_codec.cli.doctor.configured_keys import opening_keys
from envelope_codec.cli.doctor.master_keys import MasterKeys
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import EnvelopeError
from envelope_codec.kms import LastUse, MasterKey

_SECONDS = 30.0  # for all keys together
_LATE = "the KMS gave no answer in time"


async def ask_witnesses(config: EnvelopeConfig, namespace: str, key_ids: Iterable[str]) -> dict[str, str]:
    """Ask the KMS of each key that the configuration opens with when it was last used. Returns words, by key id.

    Args:
        config: has the master keys.
        namespace: whose keys are asked.
        key_ids: of the keys of which it is to be known.
    """
    wanted = list(key_ids)
    told: dict[str, str] = {}
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    givens = [one.given for one in opening_keys(config, namespace)]

    def work() -> None:
        masters = MasterKeys()
        try:
            for key_id in wanted:
                told[key_id] = _ask(masters, givens, key_id)
        finally:
            masters.close()
            loop.call_soon_threadsafe(done.set)

    # A daemon: a KMS that hangs keeps no process from ending.
    threading.Thread(target=work, name="envelope-codec-witness", daemon=True).start()
    try:
        await asyncio.wait_for(done.wait(), _SECONDS)
    except asyncio.TimeoutError:
        return {key_id: told.get(key_id, _LATE) for key_id in wanted}
    return dict(told)


def _ask(masters: MasterKeys, givens: Sequence[object], key_id: str) -> str:
    for given in givens:
        try:
            master = masters.get(given, opens=True)
            if master.accepts(key_id):
                return _tell(master, key_id)
        except EnvelopeError as error:
            return f"the KMS could not be asked: {error}"
        except Exception as error:  # the provider of a third party may raise anything
            return f"the KMS could not be asked: {type(error).__name__}"
    return "the KMS was not asked: no master key of the configuration is this one"


def _tell(master: MasterKey, key_id: str) -> str:
    ask = getattr(master, "last_use", None)
    use = ask(key_id) if callable(ask) else None
    if not isinstance(use, LastUse):
        return "the KMS does not tell when the key was last used, as far as its provider knows"
    if use.at is None:
        since = f" since {date_text(use.since)}" if use.since is not None else ""
        return f"the KMS has recorded no use{since}"
    event = f", event {use.event}" if use.event else ""
    return f"the KMS says it was last used on {date_text(use.at)} ({use.operation or 'use not told'}{event})"
