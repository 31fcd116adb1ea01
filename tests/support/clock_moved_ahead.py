"""Time for the keyrings of a test, which the test moves ahead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from envelope_codec import EnvelopePlugin
from envelope_codec.observe import Event
from envelope_codec.testing import ManualClock

_TICK = 0.01


class ClockMovedAhead(ManualClock):
    """Passes as time does while `running`, and `advance` moves it ahead: ten minutes pass while a KMS is down for a
    few seconds.
    """

    def rules(self, plugin: EnvelopePlugin) -> None:
        """Let it be the clock of a plugin that nobody has used yet."""
        plugin.keyring._clock = self
        plugin.keyring._own_clock = None
        plugin.keyring._build()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let time pass in this loop."""
        ticking = asyncio.ensure_future(self._tick())
        try:
            yield
        finally:
            ticking.cancel()

    async def _tick(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            self.advance(now - last)
            last = now


class TimedEvent(NamedTuple):
    """An event, and the monotonic seconds at which it was told."""

    at: float
    event: Event


class Journal(list[TimedEvent]):
    """An observer that takes down what it is told, and when by this clock."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic

    def on_event(self, event: Event) -> None:
        self.append(TimedEvent(self._monotonic(), event))

    def calls(self, outcome: str, key_id: str | None = None) -> list[TimedEvent]:
        """KMS calls that came to this."""
        return [
            told
            for told in self
            if told.event.operation in ("wrap", "unwrap")
            and told.event.outcome == outcome
            and key_id in (None, told.event.key_id)
        ]

    def last_use(self) -> float:
        """When a payload was last sealed or opened."""
        return max(told.at for told in self if told.event.operation in ("seal", "open") and told.event.outcome == "ok")
