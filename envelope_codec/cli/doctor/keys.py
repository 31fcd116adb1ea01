"""Whether the master keys wrap and unwrap, each bound to the context that a record of its namespace has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from envelope_codec._facts import ProviderFacts, facts_of_key
from envelope_codec._process import renew_after_fork
from envelope_codec.cli.doctor.call import Calls, Deadline, ProviderWords
from envelope_codec.cli.doctor.settings import ConfiguredKey, opening_keys
from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import (
    NAMESPACE,
    Purpose,
    Recipient,
    Record,
    unlock,
)
from envelope_codec.errors import ConfigurationError, EnvelopeError, InvalidCiphertext
from envelope_codec.keys.calls import translate_error
from envelope_codec.keys.draft import Draft
from envelope_codec.kms import MISSING_PACKAGE, MasterKey, WrappedSecret, master_key, unwrap_with


@dataclass(frozen=True)
class Answer:
    """How one call ended.

    Attributes:
        seconds: how long it took.
        error: None if it went well.
        words: what the KMS said itself.
    """

    seconds: float
    error: EnvelopeError | None = None
    words: str = ""


@dataclass
class Probe:
    """One master key of one namespace, and what has been found so far; a thread goes on filling it in.

    Attributes:
        key: which.
        key_id: its key id; empty before it has been loaded.
        defect: why it can't be loaded.
        lacks_package: whether it can't be loaded because a package is not installed.
        stage: what is being done, or was last.
        wrap, unwrap: how these ended; None if they have not been tried, or not ended.
        record: what it wrapped.
        proved: whether a payload's own record was unwrapped, instead of one made for the purpose.
        notices: what its provider says will be trouble, and what to do about it.
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
        """Whether there is nothing more to come."""
        return bool(self.defect or self.unwrap or (self.wrap and self.wrap.error))


@dataclass
class MasterKeys:
    """The configured master keys, loaded when they are needed. Only for threads that may hang.

    A key that was named by its URI is loaded twice: one object wraps, another opens, as another process would. So an
    alias has to be looked up, which takes a permission of its own.
    """

    _loaded: dict[tuple[Any, bool], MasterKey] = field(default_factory=dict)
    _lock: threading.Lock = field(init=False)

    def __post_init__(self) -> None:
        renew_after_fork(self, _lock=threading.Lock)

    def get(self, given: Any, *, opens: bool) -> MasterKey:
        """Raises `ConfigurationError`: its provider can't be loaded, or refuses the URI."""
        if not isinstance(given, str):
            return given  # type: ignore[no-any-return]
        with self._lock:
            found = self._loaded.get((given, opens))
        if found is None:
            made = master_key(given)
            with self._lock:
                found = self._loaded.setdefault((given, opens), made)
        return found

    def close(self) -> None:
        """Close those that were loaded here."""
        with self._lock:
            loaded, self._loaded = self._loaded, {}
        for master in loaded.values():
            master.close()


class KeyCheck:
    """Asks the KMSs, each master key in a thread of its own."""

    def __init__(self, calls: Calls, masters: MasterKeys, words: ProviderWords) -> None:
        self._calls = calls
        self._masters = masters
        self._words = words

    async def run(self, keys: Sequence[ConfiguredKey], purpose: Purpose, deadline: Deadline) -> list[Probe]:
        """Have each key wrap and unwrap, as far as that ends before ``deadline``."""
        probes = [Probe(key) for key in keys]
        by_key: dict[Any, list[Probe]] = {}
        for probe in probes:
            given = probe.key.given
            by_key.setdefault(given if isinstance(given, str) else id(given), []).append(probe)
        await self._calls.results([partial(self._examine_all, group, purpose) for group in by_key.values()], deadline)
        return [replace(probe) for probe in probes]  # as they are now: threads that are late go on with theirs

    async def prove(self, probe: Probe, records: Sequence[Record], deadline: Deadline) -> None:
        """Have a key that could not wrap unwrap one of these records, if one of them is its own."""

        def work() -> Answer | None:
            opener = self._masters.get(probe.key.given, opens=True)
            for record in records:
                for recipient in record.recipients:
                    if record.namespace == probe.key.namespace and opener.accepts(recipient.key_id):
                        return self._ask("unwrap", opener, partial(_open, opener, record, recipient))
            return None

        try:
            answer = await self._calls.result(work, deadline)
        except Exception:  # it can't tell whether a record is its own
            answer = None
        if answer is not None:
            probe.unwrap, probe.proved = answer, True

    async def without_key(
        self, records: Sequence[Record], config: EnvelopeConfig, deadline: Deadline
    ) -> list[Record] | None:
        """Those of the records that no master key opens which is configured for their namespace.

        None if it could not be found out, since a key can't be loaded or its KMS does not tell what is its own.
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
            probe.record = _wrapped(sealer, probe.key, purpose)

        probe.wrap = self._ask("wrap", sealer, wrap)
        record = probe.record
        if probe.wrap.error is None and record is not None:
            probe.stage = "unwrap"
            probe.unwrap = self._ask("unwrap", opener, partial(_accepted, opener, record))
        probe.notices = _notices(sealer)

    def _ask(self, operation: str, master: MasterKey, work: Callable[[], None]) -> Answer:
        self._words.taken()
        begun = time.perf_counter()
        try:
            work()
        except BaseException as error:
            seconds = time.perf_counter() - begun
            return Answer(seconds, translate_error(error, operation, master), self._words.taken())
        return Answer(time.perf_counter() - begun)


def _notices(master: MasterKey) -> tuple[tuple[str, str], ...]:
    """Ask a provider for its notices. It need not have the method ``notices``."""
    try:
        ask: Any = getattr(master, "notices", None)
        return tuple(ask()) if ask is not None else ()
    except Exception:  # a provider of a third party may have something else by that name
        return ()


def _wrapped(master: MasterKey, key: ConfiguredKey, purpose: Purpose) -> Record:
    """Make a record with one recipient, as the keyring makes it, of a secret that nothing else knows."""
    return Draft(purpose, int(time.time()), {**key.context, NAMESPACE: key.namespace}).wrap_by(master)


def _accepted(master: MasterKey, record: Record) -> None:
    recipient = record.recipients[0]
    if not master.accepts(recipient.key_id):
        raise InvalidCiphertext("the key does not know what it wrapped as its own", operation="unwrap")
    _open(master, record, recipient)


def _open(master: MasterKey, record: Record, recipient: Recipient) -> None:
    wrapped = WrappedSecret(recipient.key_id, recipient.key_version, recipient.ciphertext)
    unlock(record, unwrap_with(master, wrapped, record.kms_context).secret)
