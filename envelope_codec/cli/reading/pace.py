"""The pace of a command: how many requests a second it makes at most."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Pace:
    """Spaces requests evenly.

    Args:
        rate: requests a second.
        clock: gives seconds that never go back.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._interval = 1 / rate
        self._clock = clock
        self._sleep = sleep
        self._next = 0.0

    async def __call__(self) -> None:
        """Wait until the next request may go."""
        now = (self._clock or asyncio.get_running_loop().time)()
        self._next = max(self._next, now)
        wait = self._next - now
        self._next += self._interval
        if wait > 0:
            await self._sleep(wait)
