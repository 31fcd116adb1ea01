"""Simulated time: an event loop that jumps to its next event, a clock, and threads that are events of that loop."""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from envelope_codec.keys.calls import Threads

_EPOCH = 1_700_000_000.0


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while something runs, and jumps to what is scheduled next.

    Attributes:
        now: simulated seconds.
        owed: seconds that the running job has spent in calls after its first; those who wait for it wake so much later.
    """

    def __init__(self) -> None:
        self.now = self.owed = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self.now

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """There are no other threads: a job that ends calls this to wake who waits for it."""
        return self.call_later(self.owed, callback, *args, context=context)


class _Jump(selectors.SelectSelector):
    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing is scheduled: the simulation would wait for ever")
        self._loop.now += timeout
        return []


class SimulatedClock:
    """A keyring's `Clock` in a simulated loop."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.monotonic = loop.time
        self.call_later = loop.call_later

    def time(self) -> float:
        """See `Clock.time`."""
        return _EPOCH + self._loop.now


class SimulatedThreads:
    """A keyring's ``spawn``: a job runs as one event, at the end of the time that its first KMS call takes.

    Further calls of the same job (unwrapping what was wrapped) are made at that moment as well, and add to what the
    loop owes. So what a job finds out before its first call, as that another has got the key meanwhile, it finds out
    later than in a thread; that callers share a job is for the keyring's own tests to show. No more jobs run at once
    than the keyring has threads.

    Args:
        loop: where jobs run.
        latency: seconds that the next call takes.
    """

    def __init__(self, loop: SimulatedLoop, latency: Callable[[], float]) -> None:
        self._loop = loop
        self._latency = latency
        self._free = Threads.GENERAL.value + Threads.URGENT.value
        self._queue: deque[Callable[[], None]] = deque()
        self._calls = 0

    def __call__(self, job: Callable[[], None]) -> None:
        if not self._free:
            self._queue.append(job)
            return
        self._free -= 1
        self._loop.call_later(self._latency(), self._run, job)

    def called(self) -> None:
        """To be told by the KMS of each call."""
        self._calls += 1
        if self._calls > 1:
            self._loop.owed += self._latency()

    def _run(self, job: Callable[[], None]) -> None:
        self._calls = 0
        job()
        self._loop.owed = 0.0
        self._free += 1
        if self._queue:
            self(self._queue.popleft())
