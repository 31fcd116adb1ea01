"""A waiter: one caller that waits on its event loop until it is woken, or until its time is over."""

from __future__ import annotations

import asyncio
import math
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from envelope_codec._loops import kept_awake, running_loop
from envelope_codec.keys.clock import Clock, Timer, call_here
from envelope_codec.keys.stop import AT_SHUTDOWN, stopping

waited: WeakKeyDictionary[asyncio.Task[Any], float] = WeakKeyDictionary()
"""Seconds for which each task has waited for a KMS."""

_stopped: WeakSet[asyncio.Task[Any]] = WeakSet()
"""Tasks whose wait a `Stop` has ended. What they ask for after that, to report it, gets no time again."""


class Waiter:
    """One caller of `Flight.wait`, in the task and on the event loop that make it.

    Args:
        clock: where the time comes from.
    """

    def __init__(self, clock: Clock) -> None:
        self._loop = running_loop()
        self._woken: asyncio.Future[None] = self._loop.create_future()
        self._clock = clock
        self._begun = clock.monotonic()
        self._timers: list[Timer] = []
        self._task = asyncio.current_task()
        self._stop = stopping.get()
        self._at_shutdown = 0.0 if self._task in _stopped else AT_SHUTDOWN

    def begin(self, deadline: float) -> None:
        """Wake the caller at ``deadline`` (monotonic seconds), or soon after its worker begins to shut down.

        Raises:
            RuntimeError: no thread for timers can be started.
        """
        if deadline < math.inf:
            self._timers.append(call_here(self._clock, deadline - self._clock.monotonic(), self.wake))
        if self._stop is not None:
            self._stop.add(self._hurry)

    async def sleep(self) -> None:
        """Return when the caller is woken."""
        with kept_awake():
            await self._woken

    def wake(self) -> None:
        """Wake the caller. Safe from any thread, any number of times."""
        try:
            self._loop.call_soon_threadsafe(self._settle)
        except RuntimeError:
            return  # the caller's loop has been closed: nobody waits there any more

    def end(self) -> None:
        """Cancel what is scheduled, and add up for how long the caller's task has waited."""
        if self._stop is not None:
            self._stop.remove(self._hurry)
        for timer in self._timers:
            timer.cancel()
        if self._task is not None:
            waited[self._task] = waited.get(self._task, 0.0) + self._clock.monotonic() - self._begun

    def note_in_vain(self) -> None:
        """Take note that the caller has waited in vain."""
        if self._stop is not None and self._stop.is_set and self._task is not None:
            _stopped.add(self._task)

    def _settle(self) -> None:
        if not self._woken.done():
            self._woken.set_result(None)

    def _hurry(self) -> None:
        self._timers.append(self._clock.call_later(self._at_shutdown, self.wake))
