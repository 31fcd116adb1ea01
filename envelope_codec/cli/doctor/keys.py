"""The test of the master keys: whether each wraps and unwraps, with the context that records of its namespace have."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from envelope_codec._facts import ProviderFacts, facts_of_key
from envelope_codec.cli.doctor.answer import Answer
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.keys.configured_keys import ConfiguredKey, opening_keys
from envelope_codec.cli.keys.master_keys import MasterKeys
from envelope_codec.cli.logs import ProviderWords
from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import (
    NAMESPACE,
    Purpose,
    Recipient,
    Record,
    unlock,
)
from envelope_codec.errors import ConfigurationError, InvalidCiphertext
from envelope_codec.keys.calls import translate_error
from envelope_codec.keys.draft import Draft
from envelope_codec.kms import MISSING_PACKAGE, MasterKey, WrappedSecret, unwrap_with


@dataclass
class Probe:
    """One master key of one namespace, and what is known of it. A thread fills it in while it works.

    Attributes:
        key: the master key, as it is configured.
        key_id: its key id; empty until it is loaded.
        defect: why it can't be loaded; empty if it can.
        lacks_package: whether it can't be loaded because a package is not installed.
        stage: what is being done with it, or was done last.
        wrap, unwrap: how these ended. None for what was not tried, or has not ended.
        record: the record that it wrapped.
        proved: whether the record of a payload was unwrapped, and not one that was made for the test.
        notices: what its provider expects to go wrong, each with what to do about it.
    """

    key: ConfiguredKey
    key_id: str = ""
    defect: str = ""
    lacks_package: bool = False
    stage: str = "load"
    wrap: Answer | None = None
    unwrap: Answer | None = None
    record: Record | None = None
    proved: bool = False
    notices: tuple[tuple[str, str], ...] = ()

    @property
    def facts(self) -> ProviderFacts | None:
        """The facts of its provider, if it has any."""
        return facts_of_key(self.key.given)

    @property
    def ended(self) -> bool:
        """Whether its test has ended."""
        return bool(self.defect or self.unwrap or (self.wrap and self.wrap.error))


class KeyCheck:
    """Tests master keys, each in a thread of its own."""

    def __init__(self, calls: Calls, masters: MasterKeys, words: ProviderWords) -> None:
        self._calls = calls
        self._masters = masters
        self._words = words

    async def run(self, keys: Sequence[ConfiguredKey], purpose: Purpose, deadline: Deadline) -> list[Probe]:
        """Have each key wrap and unwrap, and return what is known at ``deadline`` at the latest."""
        probes = [Probe(key) for key in keys]
        by_key: dict[Any, list[Probe]] = {}
        for probe in probes:
            given = probe.key.given
            by_key.setdefault(given if isinstance(given, str) else id(given), []).append(probe)
        await self._calls.results([partial(self._examine_all, group, purpose) for group in by_key.values()], deadline)
        return [replace(probe) for probe in probes]  # copies: threads that are late go on to fill in the originals

    async def prove(self, probe: Probe, records: Sequence[Record], deadline: Deadline) -> None:
        """Have a key that could not wrap unwrap one of ``records``, if the key has wrapped one of them."""

        def work() -> Answer | None:
            opener = self._masters.get(probe.key.given, opens=True)
            for record in records:
                for recipient in record.recipients:
                    if record.namespace == probe.key.namespace and opener.accepts(recipient.key_id):
                        return self._ask("unwrap", opener, partial(_open, opener, record, recipient))
            return None

        try:
            answer = await self._calls.result(work, deadline)
        except Exception:  # the key can't tell whether it has wrapped a record
            answer = None
        if answer is not None:
            probe.unwrap, probe.proved = answer, True

    async def without_key(
        self, records: Sequence[Record], config: EnvelopeConfig, deadline: Deadline
    ) -> list[Record] | None:
        """Find the records that no master key opens which is configured for their namespace.

        None if nobody knows, because a key can't be loaded, or can't tell which records it has wrapped.
        """

        def work() -> list[Record]:
            return [record for record in records if not self._accepts(record, opening_keys(config, record.namespace))]

        try:
            return await self._calls.result(work, deadline)
        except Exception:
            return None

    def _accepts(self, record: Record, keys: Sequence[ConfiguredKey]) -> bool:
        doubts: list[Exception] = []
        for key in keys:
            try:
                opener = self._masters.get(key.given, opens=True)
                if any(opener.accepts(recipient.key_id) for recipient in record.recipients):
                    return True
            except Exception as error:
                doubts.append(error)
        if doubts:
            raise doubts[0]
        return False

    def _examine_all(self, probes: Sequence[Probe], purpose: Purpose) -> None:
        for probe in probes:
            self._examine(probe, purpose)

    def _examine(self, probe: Probe, purpose: Purpose) -> None:
        try:
            sealer = self._masters.get(probe.key.given, opens=False)
            opener = self._masters.get(probe.key.given, opens=True)
            probe.key_id = sealer.key_id
        except Exception as error:
            text = str(error) if isinstance(error, ConfigurationError) else type(error).__name__
            probe.defect = text or "it can't be loaded"
            probe.lacks_package = isinstance(error, ConfigurationError) and error.code == MISSING_PACKAGE
            return
        probe.stage = "wrap"

        def wrap() -> None:
            probe.record = _wrap_record(sealer, probe.key, purpose)

        probe.wrap = self._ask("wrap", sealer, wrap)
        record = probe.record
        if probe.wrap.error is None and record is not None:
            probe.stage = "unwrap"
            probe.unwrap = self._ask("unwrap", opener, partial(_unwrap_own, opener, record))
        probe.notices = _ask_for_notices(sealer)

    def _ask(self, operation: str, master: MasterKey, work: Callable[[], None]) -> Answer:
        self._words.take()
        begun = time.perf_counter()
        try:
            work()
        except BaseException as error:
            seconds = time.perf_counter() - begun
            return Answer(seconds, translate_error(error, operation, master), self._words.take())
        return Answer(time.perf_counter() - begun)


def _ask_for_notices(master: MasterKey) -> tuple[tuple[str, str], ...]:
    """Ask the provider what it expects to go wrong. A provider need not have the method ``notices``."""
    try:
        ask: Any = getattr(master, "notices", None)
        return tuple(ask()) if ask is not None else ()
    except Exception:  # the provider of a third party may have something else of this name
        return ()


def _wrap_record(master: MasterKey, key: ConfiguredKey, purpose: Purpose) -> Record:
    """Make a record with one recipient, as the keyring makes it, of a secret that nothing else knows."""
    return Draft(purpose, int(time.time()), {**key.context, NAMESPACE: key.namespace}).wrap_by(master)


def _unwrap_own(master: MasterKey, record: Record) -> None:
    recipient = record.recipients[0]
    if not master.accepts(recipient.key_id):
        raise InvalidCiphertext("the key does not know what it wrapped as its own", operation="unwrap")
    _open(master, record, recipient)


def _open(master: MasterKey, record: Record, recipient: Recipient) -> None:
    wrapped = WrappedSecret(recipient.key_id, recipient.key_version, recipient.ciphertext)
    unlock(record, unwrap_with(master, wrapped, record.kms_context).secret)
