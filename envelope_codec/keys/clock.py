"""Time as the keyring needs it: two clocks and timers. Tests bring their own."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Protocol

from envelope_codec._loops import stop_loop
from envelope_codec._process import renew_after_fork


class Timer(Protocol):
    """A callback that has been scheduled."""

    def cancel(self) -> None:
        """Do not call the callback, if it has not been called yet. Safe from any thread, any number of times."""
        ...


class Clock(Protocol):
    """Where the keyring gets the time and its timers from."""

    def monotonic(self) -> float:
        """Return seconds that never go backwards. They may stand still while the machine is suspended."""
        ...

    def time(self) -> float:
        """Return Unix seconds."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback``, which must be quick, ``delay`` seconds from now, in some thread."""
        ...


class SystemClock:
    """The machine's clocks, and one daemon thread for timers, which starts at the first use and after a fork.

    `close` ends the thread. Timers that have not fired by then never will.
    """

    _lock: threading.Lock
    _loop: asyncio.AbstractEventLoop | None

    def __init__(self) -> None:
        self._closed = False
        renew_after_fork(self, _lock=threading.Lock, _loop=lambda: None)  # the child has not got the thread

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` in the thread for timers, ``delay`` seconds from now. It must be quick."""
        timer = _LoopTimer(callback)
        with self._lock:
            if not self._closed:
                timer.schedule(self._timer_loop(), delay)
        return timer

    def close(self) -> None:
        """End the thread, if there is one. Does not wait for it."""
        with self._lock:
            self._closed = True
            loop, self._loop = self._loop, None
        if loop is not None:
            stop_loop(loop)

    def _timer_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = asyncio.new_event_loop()
            threading.Thread(target=_run, args=(loop,), name="envelope-codec-timer", daemon=True).start()
            self._loop = loop
            weakref.finalize(self, stop_loop, loop).atexit = False
        return self._loop


def call_here(clock: Clock, delay: float, callback: Callable[[], None]) -> Timer:
    """Do what `Clock.call_later` does, for a callback that may run on the running event loop.

    That needs no thread, where the clock is the system's.
    """
    if isinstance(clock, SystemClock):
        return asyncio.get_running_loop().call_later(delay, callback)
    return clock.call_later(delay, callback)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


class _LoopTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None

    def schedule(self, loop: asyncio.AbstractEventLoop, delay: float) -> None:
        self._loop = loop
        # In a context of its own: what is due much later has nothing to do with whoever happened to schedule it.
        loop.call_soon_threadsafe(self._start, loop, delay, context=Context())

    def _start(self, loop: asyncio.AbstractEventLoop, delay: float) -> None:
        if self._callback is not None:
            self._handle = loop.call_later(delay, self._fire)

    def cancel(self) -> None:
        self._callback = None  # at once: what the callback holds is free, whatever the loop does
        if self._loop is not None and self._handle is not None:
            with suppress(RuntimeError):  # the clock has been closed
                self._loop.call_soon_threadsafe(self._handle.cancel)

    def _fire(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()
