"""What the tests of the keyring share: a keyring over fakes, whose time and threads the test moves by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from cryptography.exceptions import InvalidTag

from envelope_codec.envelope import (
    NAMESPACE,
    Purpose,
    Recipient,
    Record,
    build_record,
)
from envelope_codec.errors import InvalidCiphertext, KeyDenied
from envelope_codec.keys.draft import Draft
from envelope_codec.keys.keyring import Keyring
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.limits import Limits
from envelope_codec.keys.opening_key import OpeningKey
from envelope_codec.keys.sealing_key import SealingKey
from envelope_codec.kms import MasterKey, Unwrapped, WrappedSecret, context_bytes
from envelope_codec.observe import Event
from envelope_codec.testing import FakeKms, ManualClock

T = TypeVar("T")

MAX_AGE, LEASE, GRACE, REFUSAL = 86_400.0, 300.0, 3_600.0, 5.0
LIMITS = Limits(max_age=MAX_AGE, lease=LEASE, outage_grace=GRACE, refusal_ttl=REFUSAL)


class Events(list[Event]):
    """An observer that takes down what it is told."""

    def on_event(self, event: Event) -> None:
        self.append(event)

    def of(self, operation: str) -> list[str]:
        """Outcomes of an operation, in order."""
        return [event.outcome for event in self if event.operation == operation]


class Jobs(deque[Callable[[], None]]):
    """A ``spawn`` that runs nothing until it is told to."""

    def __call__(self, job: Callable[[], None]) -> None:
        self.append(job)

    def run_one(self) -> bool:
        """Run the first; whether there was one."""
        if not self:
            return False
        self.popleft()()
        return True

    def run(self) -> int:
        """Run all, and those that they start; how many they were."""
        count = 0
        while self.run_one():
            count += 1
        return count


def inline(job: Callable[[], None]) -> None:
    """A ``spawn`` without a thread."""
    job()


def key_sets(key_set: KeySet | MasterKey | Mapping[str, KeySet]) -> Callable[[str], KeySet | None]:
    """The same key set for every namespace, or one for each."""
    if isinstance(key_set, Mapping):
        return key_set.get
    only = key_set if isinstance(key_set, KeySet) else KeySet(key_set)
    return lambda namespace: only


class Ring:
    """A keyring with its fakes.

    Args:
        keys: one master key, a key set, or a key set for each namespace; a new `FakeKms` if None.
        spawn: `inline`, a `Jobs`, or None for real threads.
        limits: instead of `LIMITS`.
        more: further arguments of `Keyring`.
    """

    def __init__(
        self,
        keys: KeySet | MasterKey | Mapping[str, KeySet] | None = None,
        *,
        spawn: Callable[[Callable[[], None]], object] | None = inline,
        clock: ManualClock | None = None,
        limits: Limits = LIMITS,
        jitter: float = 0.0,
        **more: Any,
    ) -> None:
        self.kms = FakeKms()
        self.jobs = spawn if isinstance(spawn, Jobs) else Jobs()
        self.clock = clock or ManualClock()
        self.events = Events()
        more = {"observer": self.events, "clock": self.clock, **more}
        self.keyring = Keyring(
            key_sets(self.kms if keys is None else keys), limits=limits, spawn=spawn, jitter=lambda: jitter, **more
        )

    async def seal(self, namespace: str = "default", **options: Any) -> SealingKey:
        """A sealing key, as the codec asks for it; moves the clock on from timer to timer until it is there."""
        key = self.keyring.try_sealing_key(namespace)
        return await self.finish(self.keyring.sealing_key(namespace, **options)) if key is None else key

    async def open(self, record: Record, **options: Any) -> bytes:
        """The key of a record, as the codec asks for it; moves the clock on from timer to timer until it is there."""
        key = self.keyring.try_opening_key(record)
        if key is None:
            key = await self.finish(self.keyring.opening_key(record, **options))
        self.keyring.note_opened(record)
        return key

    def kept_key(self, record: Record) -> OpeningKey:
        """What the keyring keeps of a record that it has opened, which must not have expired."""
        key = self.keyring._opening._keys.get(record.id)
        assert key is not None
        return key

    def use(self, *records: Record) -> list[bytes | None]:
        """The keys of these records where they are at hand, each of which opens a payload then."""
        keys = []
        for record in records:
            keys.append(self.keyring.try_opening_key(record))
            if keys[-1] is not None:
                self.keyring.note_opened(record)
        return keys

    async def finish(self, work: Awaitable[T]) -> T:
        """Await, and meanwhile run the jobs that wait for a thread, or move the clock on from timer to timer."""
        task = asyncio.ensure_future(work)
        await settle()
        while not task.done():
            if not self.jobs.run_one():
                due = self.clock.next_due
                assert due is not None, "waits for ever: nothing is scheduled"
                self.clock.advance(due)
            await settle()
        return await task

    def advance(self, seconds: float, *, step: float | None = None, use: Callable[[], object] = lambda: None) -> None:
        """Let time pass, with ``use`` called every ``step`` seconds."""
        if step is None:
            self.clock.advance(seconds)
            return
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            use()

    @property
    def calls(self) -> tuple[int, int]:
        """Wraps and unwraps of the built-in master key so far."""
        return self.kms.wraps, self.kms.unwraps

    @property
    def kept(self) -> int:
        """Unwrapped keys in memory, for sealing and opening."""
        opening, sealing = self.keyring._opening, self.keyring._sealing
        kept = {id(entry) for entry in (*opening._keys.values(), *opening._hot.values())}
        return len(kept) + sum(state.current is not None for state in sealing._slots.by_scope.values())


async def settle() -> None:
    """Let every task and callback of this loop run until each waits for something else."""
    for _ in range(20):
        await asyncio.sleep(0)


def wrapped_by(
    *masters: MasterKey,
    namespace: str = "default",
    purpose: Purpose = Purpose.WRAPPING_KEY,
    created: int = 1_700_000_000,
    secret: bytes | None = None,
    context: Mapping[str, str] | None = None,
) -> tuple[Record, bytes]:
    """A record as another writer makes it, and the key that it carries."""
    draft = Draft(purpose, created, {**(context or {}), NAMESPACE: namespace}, secret=secret)
    return draft.record(draft.wrap_by(master).recipients[0] for master in masters), draft.key


def corrupted(record: Record, *numbers: int) -> Record:
    """The record with other bytes in the ciphertext of these recipients."""
    recipients = [
        Recipient(r.key_id, r.key_version, bytes(len(r.ciphertext))) if number in numbers else r
        for number, r in enumerate(record.recipients)
    ]
    return build_record(record.head, record.id, recipients)


class Untold(FakeKms):
    """As GCP's: it finds out by itself which version decrypts and does not tell, and versions can be disabled."""

    def __init__(self, key_id: str | None = None) -> None:
        super().__init__(key_id)
        self.disabled: set[str] = set()

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        """See `MasterKey.unwrap`."""
        self.unwraps += 1
        self._faults("unwrap")
        for version, cipher in self._versions.items():
            with contextlib.suppress(InvalidTag):
                secret = cipher.decrypt(wrapped.ciphertext[:12], wrapped.ciphertext[12:], context_bytes(context))
                if version in self.disabled:
                    raise KeyDenied("the key version is disabled", operation="unwrap", key_id=self.key_id)
                return Unwrapped(secret, None)
        raise InvalidCiphertext("it does not open", operation="unwrap", key_id=self.key_id)


class Policy(FakeKms):
    """Whose policy refuses some contexts, as AWS lets one be written: those with one of these names and values."""

    def __init__(self, key_id: str | None = None) -> None:
        super().__init__(key_id)
        self.forbidden: set[tuple[str, str]] = set()

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        """See `MasterKey.wrap`."""
        self._ask("wrap", context)
        return super().wrap(secret, context)

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        """See `MasterKey.unwrap`."""
        self._ask("unwrap", context)
        return super().unwrap(wrapped, context)

    def _ask(self, operation: str, context: Mapping[str, str]) -> None:
        if self.forbidden & context.items():
            if operation == "unwrap":
                self.unwraps += 1
            raise KeyDenied("permission to use the key is missing", operation=operation, key_id=self.key_id)
