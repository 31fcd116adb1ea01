"""A flight: one operation that any number of callers wait for, in any task, event loop and thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any, Generic, TypeVar

from envelope_codec._process import renew_after_fork
from envelope_codec.errors import EnvelopeError, KmsUnavailable
from envelope_codec.keys.clock import Clock, Timer
from envelope_codec.keys.waiter import Waiter

T = TypeVar("T")


class Flight(Generic[T]):
    """A shared operation, its retries included.

    Attributes:
        work: one attempt; runs in the keyring's threads.
        deadline: monotonic seconds after which no further attempt starts; None for no further attempt at all.
        waiters: callers that joined and have not got the outcome yet.
        keep: whether it is retried although nobody waits for it.
        failures: attempts that failed so far.
        last_error: what the latest of them failed with.
        timer: the next attempt, while one is scheduled.
        context: in which attempts are made; None for that of the thread.
    """

    _lock: Any

    def __init__(self, work: Callable[[], T], deadline: float | None = None, *, keep: bool = False) -> None:
        self.work = work
        self.deadline = deadline
        self.keep = keep
        self.waiters = 0
        self.failures = 0
        self.last_error: EnvelopeError | None = None
        self.timer: Timer | None = None
        self.context: Context | None = None
        # Reentrant: the garbage collector may end an abandoned waiter at any moment.
        renew_after_fork(self, _lock=threading.RLock)
        self._outcome: Callable[[], T] | None = None
        self._wakers: set[Callable[[], None]] = set()

    def finish(self, result: T) -> None:
        """Wake every waiter with ``result``. Call it outside locks; only the first outcome counts."""
        self._end(lambda: result)

    def fail(self, error: EnvelopeError) -> None:
        """Wake every waiter with a copy of ``error``. Call it outside locks; only the first outcome counts."""
        copy = error.fresh()  # without the frames of the attempt, which hold secrets

        def outcome() -> T:
            raise copy.fresh()

        self._end(outcome)

    def join(self, deadline: float) -> Flight[T]:
        """Announce a caller, who must call `wait` at once: a flight without waiters is not retried, unless it is kept.

        Called under the lock that guards where the flight was found, so that it can't be given up in between.
        """
        with self._lock:
            self.waiters += 1
        self._extend(deadline)
        return self

    def keep_until(self, deadline: float) -> None:
        """Have it retried until ``deadline`` (monotonic seconds) although nobody waits for it."""
        self.keep = True
        self._extend(deadline)

    def may_retry(self, monotonic: float) -> bool:
        """Say whether another attempt may start at this time: somebody waits for it, or it is kept."""
        return (self.keep or self.waiters > 0) and self.deadline is not None and monotonic < self.deadline

    async def wait(self, clock: Clock, deadline: float) -> T:
        """Wait for the outcome, and return it to a caller that has joined.

        Cancelling the caller cancels neither the flight nor its other waiters.

        Raises:
            KmsUnavailable: there is no outcome at ``deadline`` (monotonic seconds).
            EnvelopeError: the operation failed.
        """
        waiter = Waiter(clock)
        try:
            waiter.begin(deadline)
            self._wake_at_end(waiter.wake)
            await waiter.sleep()
        except RuntimeError:  # no thread for timers can be started
            raise KmsUnavailable("no timer could be started to wait for the KMS") from None
        finally:
            with self._lock:
                self.waiters -= 1
                self._wakers.discard(waiter.wake)
            waiter.end()
        if self._outcome is not None:
            return self._outcome()
        waiter.note_in_vain()
        error = self.last_error or KmsUnavailable("the KMS did not answer before the deadline")
        raise error.fresh()

    def _extend(self, deadline: float) -> None:
        self.deadline = deadline if self.deadline is None else max(self.deadline, deadline)

    def _wake_at_end(self, wake: Callable[[], None]) -> None:
        with self._lock:
            if self._outcome is None:
                self._wakers.add(wake)
                return
        wake()

    def _end(self, outcome: Callable[[], T]) -> None:
        with self._lock:
            if self._outcome is not None:
                return
            self._outcome = outcome
            wakers, self._wakers = self._wakers, set()
        for wake in wakers:
            wake()
