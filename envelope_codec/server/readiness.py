"""Readiness: whether the master keys unwrap what they wrapped when the server started."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import (
    NAMESPACE,
    Purpose,
    Record,
    unlock,
)
from envelope_codec.errors import EnvelopeError, KmsUnavailable
from envelope_codec.keys.calls import translate_error
from envelope_codec.keys.draft import Draft
from envelope_codec.keys.key_sets import KeySets
from envelope_codec.keys.keyset import KeySet
from envelope_codec.kms import MasterKey, WrappedSecret, unwrap_with
from envelope_codec.observe import logger

_MOST_SETS = 16  # key sets that are asked: a server for many tenants must not cost each of them a call every time
_THREADS = 4

Finding = Literal["proved", "unproved", "failed"]


class Readiness(NamedTuple):
    """Numbers of key sets.

    Attributes:
        proved: they unwrap what they wrapped.
        unproved: they may not wrap, so that nothing could be tried.
        failed: they do not work.
    """

    proved: int = 0
    unproved: int = 0
    failed: int = 0

    @property
    def ready(self) -> bool:
        """Whether payloads can be opened, as far as that is known. One tenant's failing key does not count."""
        return self.proved > 0 or self.failed == 0


class Probes:
    """Asks the KMS of each key set, at most every few seconds.

    Args:
        config: the key sets are its.
        namespace: the one for which the default keys wrap.
        seconds: how long a good finding holds. A bad one holds a fifth of that.
        timeout: seconds for all answers. A key set that has not answered by then has failed.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        config: EnvelopeConfig,
        namespace: str,
        *,
        seconds: float = 10.0,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key_sets = KeySets(config)
        self._probes = list(_make_probes(self._key_sets, [namespace, *config.namespaces]))[:_MOST_SETS]
        self._seconds, self._timeout, self._clock = seconds, timeout, clock
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="envelope-codec-probe")
        self._asking: asyncio.Task[None] | None = None
        self._until = -float("inf")
        self._found = Readiness(failed=len(self._probes))

    async def check(self) -> Readiness:
        """Return what was found lately, or ask now."""
        if self._clock() >= self._until:
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask())
            await asyncio.shield(self._asking)
        return self._found

    def close(self) -> None:
        """Stop asking."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for master in self._key_sets.built:
            master.close()

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            asked = [loop.run_in_executor(self._threads, probe.check) for probe in self._probes]
            done = (await asyncio.wait(asked, timeout=self._timeout))[0] if asked else set()
            found = [future.result() for future in done]
            lost = len(asked) - len(found)
            self._found = Readiness(found.count("proved"), found.count("unproved"), found.count("failed") + lost)
        except RuntimeError:  # the probes have been closed
            self._found = Readiness(failed=len(self._probes))
        finally:
            self._until = self._clock() + (self._seconds if self._found.ready else self._seconds / 5)
            self._asking = None


class _Probe:
    """One key set, and the records that its master keys wrapped."""

    def __init__(self, namespace: str, keys: KeySet) -> None:
        self._namespace = namespace
        self._keys = keys
        self._records: dict[int, Record] = {}

    def check(self) -> Finding:
        """Find out whether one of its master keys unwraps what it wrapped. Runs in a thread."""
        failed = False
        for number, master in enumerate(self._keys.sealing):
            operation = "wrap"
            try:
                record = self._records.get(number) or self._wrap(master)
                self._records[number] = record
                operation = "unwrap"
                recipient = record.recipients[0]
                wrapped = WrappedSecret(recipient.key_id, recipient.key_version, recipient.ciphertext)
                unlock(record, unwrap_with(master, wrapped, record.kms_context).secret)
            except Exception as error:
                failure = error if isinstance(error, EnvelopeError) else translate_error(error, operation, master)
                if operation == "wrap" and not isinstance(failure, KmsUnavailable):
                    continue  # a server that only opens need not be allowed to wrap
                logger.warning("the probe of namespace %.200r failed at %s: %s", self._namespace, operation, failure)
                failed = True
            else:
                return "proved"
        return "failed" if failed else "unproved"

    def _wrap(self, master: MasterKey) -> Record:
        context = {**self._keys.context, NAMESPACE: self._namespace}
        return Draft(Purpose.WRAPPING_KEY, int(time.time()), context).wrap_by(master)


def _make_probes(key_sets: KeySets, names: list[str]) -> Iterator[_Probe]:
    seen: set[int] = set()
    for name in names:
        namespace = name.replace("*", "").replace("?", "x") or "x"  # a namespace that fits the pattern
        keys = key_sets.sealing(namespace)
        if keys is not None and id(keys) not in seen:
            seen.add(id(keys))
            yield _Probe(namespace, keys)
