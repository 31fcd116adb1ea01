"""Signs of life of a piece of work, with what the next worker needs to go on if this one ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio import activity

_PART = 3
"""Several signs go into the time after which the server gives up a worker."""

LONGEST = 1_000_000
"""The longest text that a sign of life carries. The server refuses what is longer than 2 MB."""


class Heartbeat:
    """The signs of life of the activity that runs now.

    Attributes:
        last: the text that the last worker left; empty if this one is the first.
    """

    def __init__(self) -> None:
        info = activity.info()
        details = list(info.heartbeat_details)
        self.last: str = details[0] if details and isinstance(details[0], str) else ""
        self._said = self.last
        self._timeout = info.heartbeat_timeout

    def say(self, text: str) -> None:
        """Leave ``text`` for the next worker. A longer one than `LONGEST` is not sent: that before it still holds."""
        if len(text) <= LONGEST:
            self._said = text
        activity.heartbeat(self._said)

    async def repeat(self) -> None:
        """Say the same again and again."""
        if self._timeout is None:
            return
        while True:
            activity.heartbeat(self._said)
            await asyncio.sleep(self._timeout.total_seconds() / _PART)


@asynccontextmanager
async def beating() -> AsyncIterator[Heartbeat]:
    """Give signs of life until the block ends, also while the work waits."""
    heartbeat = Heartbeat()
    task = asyncio.ensure_future(heartbeat.repeat())
    try:
        yield heartbeat
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
