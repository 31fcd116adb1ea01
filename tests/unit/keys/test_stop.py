"""A worker's shutdown ends what waits for a KMS."""

from __future__ import annotations

import asyncio
import math

import pytest

from envelope_codec.errors import KmsUnavailable
from envelope_codec.keys.flight import Flight
from envelope_codec.keys.stop import Stop, stopping
from tests.support.flights import Desk, unavailable
from tests.support.keyring_on_fakes import Jobs, settle

WAIT = 30.0


def under(stop: Stop, desk: Desk, flight: Flight[str], seconds: float) -> asyncio.Task[str]:
    """A waiter that a worker runs, whose shutdown is asked for by ``stop``."""
    token = stopping.set(stop)
    try:
        return desk.wait(flight, seconds)
    finally:
        stopping.reset(token)


async def test_a_shutdown_ends_waiting_within_seconds_and_for_nobody_else() -> None:
    desk = Desk(*unavailable(1_000))
    flight, stop = desk.flight(), Stop()
    mine = [under(stop, desk, flight, 600) for _ in range(3)]
    other = desk.wait(flight, 600)
    desk.fly(flight)
    await settle()
    desk.clock.advance(20)
    await settle()
    assert not any(task.done() for task in mine)
    stop.set()
    desk.clock.advance(2.9)
    await settle()
    assert not any(task.done() for task in mine)
    desk.clock.advance(0.2)
    for task in mine:
        with pytest.raises(KmsUnavailable, match="no answer"):
            await task
    late = under(stop, desk, flight, 600)
    await settle()
    desk.clock.advance(3.1)
    with pytest.raises(KmsUnavailable):
        await late
    assert not other.done()
    desk.failures.clear()
    desk.clock.advance(6)
    assert await other == "done"
    assert desk.clock.next_due is None


async def test_what_comes_within_these_seconds_is_still_taken() -> None:
    jobs = Jobs()
    desk = Desk(spawn=jobs)
    flight, stop = desk.flight(), Stop()
    stop.set()
    waiter = under(stop, desk, flight, 600)
    desk.fly(flight)
    await settle()
    desk.clock.advance(2)
    jobs.run()
    assert await waiter == "done"
    assert desk.clock.next_due is None


async def test_a_task_whose_wait_a_shutdown_has_ended_is_given_no_time_again() -> None:
    """An activity whose result can't be sealed goes on to seal the failure: the shutdown waits for both."""
    desk = Desk(*unavailable(1_000))
    stop = Stop()

    async def twice() -> float:
        for _ in range(2):
            flight = desk.flight().join(math.inf)
            desk.fly(flight)
            with pytest.raises(KmsUnavailable):
                await flight.wait(desk.clock, math.inf)
        return desk.clock.monotonic()

    token = stopping.set(stop)
    task = asyncio.ensure_future(twice())
    stopping.reset(token)
    await settle()
    stop.set()
    asked = desk.clock.monotonic()
    while not task.done():
        desk.clock.advance(0.5)
        await settle()
    assert await task - asked <= 3.5


async def test_a_stop_keeps_nothing_of_callers_that_have_gone() -> None:
    desk = Desk()
    flight, stop = desk.flight(), Stop()
    waiters = [under(stop, desk, flight, 600) for _ in range(10)]
    await settle()
    assert len(stop._listeners) == 10
    for waiter in waiters[:5]:
        waiter.cancel()
    desk.fly(flight)
    await asyncio.gather(*waiters, return_exceptions=True)
    assert not stop._listeners
