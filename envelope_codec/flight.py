"""One operation that any number of callers wait for, in any task, event loop and thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from envelope_codec.clock import Clock, Timer
from envelope_codec.errors import EnvelopeError, KmsUnavailable

T = TypeVar("T")


class Flight(Generic[T]):
    """A shared operation, its retries included.

    Attributes:
        work: one attempt; runs in the keyring's threads.
        deadline: monotonic seconds after which no further attempt starts.
        waiters: callers that joined and have not got the outcome yet.
        keep: whether it is retried although nobody waits for it.
        failures: attempts that failed so far.
        last_error: what the latest of them failed with.
        timer: the next attempt, while one is scheduled.
    """

    def __init__(self, work: Callable[[], T], deadline: float, *, keep: bool = False) -> None:
        self.work = work
        self.deadline = deadline
        self.keep = keep
        self.waiters = 0
        self.failures = 0
        self.last_error: EnvelopeError | None = None
        self.timer: Timer | None = None
        self._counting = threading.Lock()
        self._outcome: concurrent.futures.Future[T] = concurrent.futures.Future()

    def finish(self, result: T) -> None:
        """Wake every waiter with ``result``. Call it outside locks; only the first outcome counts."""
        try:
            self._outcome.set_result(result)
        except concurrent.futures.InvalidStateError:
            return

    def fail(self, error: EnvelopeError) -> None:
        """Wake every waiter with a copy of ``error``. Call it outside locks; only the first outcome counts."""
        try:
            self._outcome.set_exception(error)
        except concurrent.futures.InvalidStateError:
            return

    def join(self, deadline: float) -> Flight[T]:
        """Announce a caller, who must call `wait` at once: a flight without waiters is not retried, unless it is kept.

        Called under the lock that guards where the flight was found, so that it can't be given up in between.
        """
        self._count(1)
        self.deadline = max(self.deadline, deadline)
        return self

    async def wait(self, clock: Clock, deadline: float) -> T:
        """The outcome, for a caller that has joined.

        Cancelling the caller cancels neither the flight nor its other waiters.

        Raises:
            KmsUnavailable: there is no outcome at ``deadline`` (monotonic seconds).
            EnvelopeError: the operation failed.
        """
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if not woken.done():
                woken.set_result(None)

        def wake(_: Any = None) -> None:
            try:
                loop.call_soon_threadsafe(settle)
            except RuntimeError:
                return  # the caller's loop has been closed: nobody waits there any more

        timer = None
        try:
            if deadline < math.inf:
                timer = clock.call_later(deadline - clock.monotonic(), wake)
            self._outcome.add_done_callback(wake)
            await woken
        finally:
            self._count(-1)
            if timer is not None:
                timer.cancel()
        if not self._outcome.done():
            error = self.last_error or KmsUnavailable("the KMS did not answer before the deadline")
            raise error.fresh()
        failure = self._outcome.exception()
        if isinstance(failure, EnvelopeError):
            raise failure.fresh() from None
        return self._outcome.result()

    def _count(self, change: int) -> None:
        with self._counting:
            self.waiters += change
