"""Slots: for each scope, the key that seals there now and what is under way to get another."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from envelope_codec.errors import EnvelopeError, KeyDenied
from envelope_codec.keys.calls import KmsCalls, Threads, keyring_closed
from envelope_codec.keys.clock import Timer
from envelope_codec.keys.decisions import Start
from envelope_codec.keys.flight import Flight
from envelope_codec.keys.sealing_key import Scope, WrappingKey

_MANY = 1_000  # slots
_SWEPT_AT_ONCE = 64  # slots; event loops wait for the lock
_PATIENCE = 30.0  # seconds for which the next key is asked for in a row, while nobody waits for it


class Refusal(NamedTuple):
    """A refusal of the KMS to wrap a new key.

    Attributes:
        error: raised to callers.
        until: monotonic seconds until which it is repeated without asking again.
    """

    error: EnvelopeError
    until: float


class Slot:
    """The key of one scope, and what is under way there. The lock of the calls guards every change.

    Attributes:
        current: the key that seals. Direct mode has none.
        flight: the call for another key, while one is under way.
        refusal: the last answer, if it was a refusal.
        refusals: how many answers were refusals.
        timer: asks for the next key.
        newest: when the youngest key that has sealed here was made, in Unix seconds; 0 for none.
    """

    __slots__ = ("current", "flight", "newest", "refusal", "refusals", "timer")

    def __init__(self) -> None:
        self.current: WrappingKey | None = None
        self.flight: Flight[None] | None = None
        self.refusal: Refusal | None = None
        self.refusals = 0
        self.timer: Timer | None = None
        self.newest = 0

    def is_refused(self, monotonic: float) -> bool:
        """Say whether the last refusal is still repeated to callers."""
        return self.refusal is not None and monotonic < self.refusal.until

    def land(self) -> None:
        """Take note that the call under way has ended. Called under the lock."""
        self.flight = None


class Slots:
    """The slots of a keyring, by scope.

    Args:
        calls: makes the calls.
        is_usable: whether the current key of a slot seals at this moment.
        forgotten: called under the lock for a slot where nothing is sealed any more.
        threads: where calls for keys run.

    Attributes:
        by_scope: read without the lock.
    """

    def __init__(
        self,
        calls: KmsCalls,
        is_usable: Callable[[Slot], bool],
        forgotten: Callable[[Scope, WrappingKey | None], None],
        threads: Threads = Threads.URGENT,
    ) -> None:
        self.by_scope: dict[Scope, Slot] = {}
        self._calls = calls
        self._is_usable = is_usable
        self._forgotten = forgotten
        self._threads = threads
        self._to_sweep: Iterator[Scope] = iter(())

    def get(self, scope: Scope) -> Slot | None:
        """Return the slot of this scope, if there is one. Needs no lock."""
        return self.by_scope.get(scope)

    def key(self, scope: Scope) -> WrappingKey | None:
        """Return the current key of this scope, usable or not. Needs no lock."""
        slot = self.by_scope.get(scope)
        return slot.current if slot is not None else None

    def open(self, scope: Scope) -> Slot:
        """Return the slot of this scope, which is made if there is none. Called under the lock."""
        slot = self.by_scope.get(scope)
        if slot is None:
            self._sweep()
            slot = self.by_scope[scope] = Slot()
        return slot

    def fly(
        self,
        scope: Scope,
        attempt: Callable[[Scope, Slot], None],
        start: Callable[[Slot], Start],
        deadline: float | None,
    ) -> Flight[None] | None:
        """Return the call for another key: the one under way, or a new one where ``start`` says so.

        Args:
            scope: what the key is for.
            attempt: what a new call does. Runs in a thread.
            start: decides on a new call. Called under the lock.
            deadline: of a caller, in monotonic seconds, who must wait for the flight at once. None if nobody waits:
                then it is retried for a while all the same.

        Returns:
            None if ``start`` says that there is no need of a call.

        Raises:
            KmsUnavailable: the keyring has been closed.
            EnvelopeError: the last refusal, if ``start`` says so.
        """
        with self._calls.lock:
            if self._calls.closed:
                raise keyring_closed()
            slot = self.open(scope)
            flight = slot.flight
            new = flight is None
            if flight is None:
                decision = start(slot)
                if decision is Start.REFUSE and slot.refusal is not None:
                    raise slot.refusal.error.fresh()
                if decision is not Start.CALL:
                    return None
                flight = slot.flight = Flight(lambda: attempt(scope, slot))
            if deadline is None:
                flight.keep_until(self._calls.clock.monotonic() + _PATIENCE)
            else:
                flight.join(deadline)
        if new:
            self._calls.fly(flight, slot.land, threads=self._threads)
        return flight

    def refuse(self, slot: Slot, error: KeyDenied, seconds: float) -> None:
        """Empty ``slot``: the KMS refuses. The refusal is repeated for so many seconds."""
        with self._calls.lock:
            slot.current = None
            slot.refusal = Refusal(error.fresh(), self._calls.clock.monotonic() + seconds)
            slot.refusals += 1

    def remove(self, key: WrappingKey, scope: Scope) -> None:
        """Forget ``key``, if it is still the current one."""
        slot = self.by_scope.get(scope)
        if slot is not None and slot.current is key:
            with self._calls.lock:
                if slot.current is key:
                    slot.current = None

    def clear(self) -> None:
        """Forget every key, and cancel every timer."""
        with self._calls.lock:
            for slot in self.by_scope.values():
                slot.current = None
                if slot.timer is not None:
                    slot.timer.cancel()

    def _sweep(self) -> None:
        """Look at some of the slots, if there are many, and forget those where nothing is sealed any more.

        Called under the lock.
        """
        if len(self.by_scope) < _MANY:
            return
        some = list(itertools.islice(self._to_sweep, _SWEPT_AT_ONCE))
        if not some:
            self._to_sweep = iter(list(self.by_scope))
        for scope in some:
            slot = self.by_scope.get(scope)
            if slot is not None and slot.flight is None and not self._is_usable(slot):
                self._forget(scope, slot)

    def _forget(self, scope: Scope, slot: Slot) -> None:
        key, slot.current = slot.current, None
        del self.by_scope[scope]
        if slot.timer is not None:
            slot.timer.cancel()
        self._forgotten(scope, key)
