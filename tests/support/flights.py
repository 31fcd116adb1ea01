"""Flights over fakes: what the tests of flights, of calls and of a worker's shutdown share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from envelope_codec.errors import EnvelopeError, KmsUnavailable
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.flight import Flight
from envelope_codec.testing import ManualClock
from tests.support.keyring_on_fakes import Events, inline


class Desk:
    """A `KmsCalls` over fakes, and a piece of work that fails as told and then succeeds."""

    def __init__(self, *failures: BaseException, spawn: Callable[[Callable[[], None]], object] = inline) -> None:
        self.clock = ManualClock()
        self.events = Events()
        self.jitter = 0.0
        self.calls = KmsCalls(clock=self.clock, observer=self.events, spawn=spawn, jitter=lambda: self.jitter)
        self.failures = list(failures)
        self.attempts = 0
        self.landed = 0

    def work(self) -> str:
        self.attempts += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"

    def flight(self, deadline: float | None = None, *, keep: bool = False) -> Flight[str]:
        return Flight(self.work, deadline, keep=keep)

    def fly(self, flight: Flight[str]) -> None:
        self.calls.fly(flight, self.land)

    def land(self) -> None:
        self.landed += 1

    def wait(self, flight: Flight[str], seconds: float) -> asyncio.Task[str]:
        """A waiter, joined."""
        deadline = self.clock.monotonic() + seconds
        return asyncio.ensure_future(flight.join(deadline).wait(self.clock, deadline))


def unavailable(times: int) -> list[EnvelopeError]:
    return [KmsUnavailable(f"no answer {number}") for number in range(1, times + 1)]
