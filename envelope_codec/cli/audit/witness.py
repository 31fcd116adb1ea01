"""What KMSs have recorded of the use of their keys: a second witness, beside what histories hold."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from envelope_codec.cli.audit.verdict import date_text
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.keys.configured_keys import opening_keys
from envelope_codec.cli.keys.master_keys import MasterKeys
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import EnvelopeError
from envelope_codec.kms import LastUse, MasterKey

_SECONDS = 30.0  # for all keys together


async def ask_witnesses(config: EnvelopeConfig, namespace: str, key_ids: Iterable[str]) -> dict[str, str]:
    """Ask the KMS of each key that the configuration opens with when it was last used. Returns words, by key id.

    Args:
        config: has the master keys.
        namespace: whose keys are asked.
        key_ids: of the keys of which it is to be known.
    """
    wanted, told = list(key_ids), dict[str, str]()
    masters, calls = MasterKeys(), Calls()
    givens = [one.given for one in opening_keys(config, namespace)]
    works = [partial(_ask_all, masters, given, wanted, told) for given in givens]
    late = None in await calls.results(works, Deadline(_SECONDS))
    if not late:  # what hangs still uses them
        masters.close()
    otherwise = (
        "the KMS gave no answer in time"
        if late
        else "the KMS was not asked: no master key of the configuration is this one"
    )
    return {key_id: told.get(key_id, otherwise) for key_id in wanted}


def _ask_all(masters: MasterKeys, given: object, key_ids: list[str], told: dict[str, str]) -> bool:
    """Ask about those of ``key_ids`` that are of this master key, and note each answer in ``told``."""
    for key_id in key_ids:
        try:
            master = masters.get(given, opens=True)
            if master.accepts(key_id):
                told[key_id] = _tell(master, key_id)
        except EnvelopeError as error:
            told.setdefault(key_id, f"the KMS could not be asked: {error}")
        except Exception as error:  # the provider of a third party may raise anything
            told.setdefault(key_id, f"the KMS could not be asked: {type(error).__name__}")
    return True


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
