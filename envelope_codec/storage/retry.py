"""The waiting between attempts of one call, and when to give up."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import Any

from envelope_codec._backoff import Backoff, shorten
from envelope_codec.keys.stop import stopping

_BACKOFF = Backoff(0.1, 5.0)
_AT_SHUTDOWN = 3.0  # seconds that are left once the worker shuts down


class Retry:
    """The deadline of one call, and the pauses between its attempts.

    A worker's shutdown brings the deadline near. `end` must be called once the call is over.

    Args:
        seconds: until the deadline.
    """

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._failures = 0
        self._shutdown = asyncio.Event()
        self._shortened = False
        self._stop = stopping.get()
        self._loop = asyncio.get_running_loop()
        if self._stop is not None:
            self._stop.add(self._announce_shutdown)

    def end(self) -> None:
        """Listen to the worker's shutdown no longer."""
        if self._stop is not None:
            self._stop.remove(self._announce_shutdown)

    async def pause(self) -> bool:
        """Wait until the next attempt is due. Return False at once if that is after the deadline."""
        self._failures += 1
        seconds = shorten(_BACKOFF.seconds(self._failures), random.random())  # noqa: S311 - protects nothing
        self._shorten()
        if time.monotonic() + seconds >= self._deadline:
            return False
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(seconds) if self._shortened else self._shutdown.wait(), seconds)
        self._shorten()
        return True

    async def wait_for(self, task: asyncio.Task[Any]) -> None:
        """Wait until ``task`` is done, or until the deadline."""
        shutdown = self._loop.create_task(self._shutdown.wait())
        try:
            while not task.done():
                self._shorten()
                left = self._deadline - time.monotonic()
                if left <= 0:
                    return
                awaited = {task} if self._shortened else {task, shutdown}
                await asyncio.wait(awaited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            shutdown.cancel()

    def _shorten(self) -> None:
        """Bring the deadline near, once, if the worker is shutting down."""
        if self._shutdown.is_set() and not self._shortened:
            self._shortened = True
            self._deadline = min(self._deadline, time.monotonic() + _AT_SHUTDOWN)

    def _announce_shutdown(self) -> None:
        """Take note of the worker's shutdown. Called from any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits there
            self._loop.call_soon_threadsafe(self._shutdown.set)
