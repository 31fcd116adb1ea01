"""One operation that any number of callers wait for, in any task, event loop and thread."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from envelope_codec._loops import kept_awake, running_loop
from envelope_codec._process import renew_after_fork
from envelope_codec.errors import EnvelopeError, KmsUnavailable
from envelope_codec.keys.clock import Clock, Timer, call_here

T = TypeVar("T")

AT_SHUTDOWN = 3.0  # seconds


class Stop:
    """A request to wait no longer than a few seconds, for those who wait and those who will. Set it once."""

    _lock: Any  # a reentrant lock

    def __init__(self) -> None:
        renew_after_fork(self, _lock=threading.RLock)
        self._set = False
        self._listeners: set[Callable[[], None]] = set()

    def set(self) -> None:
        """Make the request."""
        with self._lock:
            self._set = True
            listeners, self._listeners = self._listeners, set()
        for listener in listeners:
            listener()

    @property
    def is_set(self) -> bool:
        """Whether the request has been made."""
        return self._set

    def add(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` once, when the request is made or now."""
        with self._lock:
            if not self._set:
                self._listeners.add(listener)
                return
        listener()

    def remove(self, listener: Callable[[], None]) -> None:
        """Do not call it any more."""
        with self._lock:
            self._listeners.discard(listener)


stopping: ContextVar[Stop | None] = ContextVar("stopping", default=None)
"""Set for everything that a worker runs, so that its shutdown is not held up by what waits for a KMS."""

waited: WeakKeyDictionary[asyncio.Task[Any], float] = WeakKeyDictionary()
"""Seconds for which each task has waited for a KMS."""

_stopped: WeakSet[asyncio.Task[Any]] = WeakSet()
"""Tasks that a `Stop` has kept from waiting on. What they ask for next, as to report that, gets no time again."""


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
        """The outcome, for a caller that has joined.

        Cancelling the caller cancels neither the flight nor its other waiters.

        Raises:
            KmsUnavailable: there is no outcome at ``deadline`` (monotonic seconds).
            EnvelopeError: the operation failed.
        """
        loop = running_loop()
        woken: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if not woken.done():
                woken.set_result(None)

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(settle)
            except RuntimeError:
                return  # the caller's loop has been closed: nobody waits there any more

        timers: list[Timer] = []
        begun = clock.monotonic()

        task, stop = asyncio.current_task(), stopping.get()
        at_shutdown = 0.0 if task in _stopped else AT_SHUTDOWN

        def hurry() -> None:
            timers.append(clock.call_later(at_shutdown, wake))

        try:
            if deadline < math.inf:
                timers.append(call_here(clock, deadline - clock.monotonic(), wake))
            if stop is not None:
                stop.add(hurry)
            self._wake_at_end(wake)
            with kept_awake():
                await woken
        except RuntimeError:  # no thread for timers can be started
            raise KmsUnavailable("no timer could be started to wait for the KMS") from None
        finally:
            with self._lock:
                self.waiters -= 1
                self._wakers.discard(wake)
            if stop is not None:
                stop.remove(hurry)
            for timer in timers:
                timer.cancel()
            if task is not None:
                waited[task] = waited.get(task, 0.0) + clock.monotonic() - begun
        if self._outcome is not None:
            return self._outcome()
        if stop is not None and stop.is_set and task is not None:
            _stopped.add(task)
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
