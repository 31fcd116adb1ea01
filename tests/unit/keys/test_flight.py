"""A flight: one operation, and many who wait for it."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import traceback
import weakref

import pytest

from envelope_codec.errors import KeyDenied, KmsUnavailable
from envelope_codec.keys.clock import SystemClock
from tests.support.flights import Desk, unavailable
from tests.support.keyring_on_fakes import Jobs, settle

WAIT = 30.0


async def test_every_waiter_gets_the_result_of_one_attempt() -> None:
    jobs = Jobs()
    desk = Desk(spawn=jobs)
    flight = desk.flight()
    waiters = [desk.wait(flight, 30) for _ in range(100)]
    desk.fly(flight)
    await settle()
    jobs.run()
    assert await asyncio.gather(*waiters) == ["done"] * 100
    assert (desk.attempts, desk.landed, flight.waiters) == (1, 1, 0)
    assert desk.clock.next_due is None


async def test_who_joins_after_the_landing_gets_the_outcome_as_well() -> None:
    desk = Desk()
    flight = desk.flight()
    desk.fly(flight)
    assert await desk.wait(flight, 30) == "done"
    assert await desk.wait(flight, -1) == "done"


@pytest.mark.parametrize("first", [True, False])
async def test_cancelling_a_waiter_cancels_nothing_for_the_others(first: bool) -> None:
    jobs = Jobs()
    desk = Desk(*unavailable(1), spawn=jobs)
    flight = desk.flight()
    waiters = [desk.wait(flight, 30) for _ in range(3)]
    desk.fly(flight)
    await settle()
    gone = waiters.pop(0 if first else 1)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    jobs.run()
    desk.clock.advance(1)
    jobs.run()
    assert await asyncio.gather(*waiters) == ["done"] * 2


async def test_work_that_raises_cancelled_error_cancels_no_waiter() -> None:
    desk = Desk(asyncio.CancelledError())
    flight = desk.flight()
    waiter = desk.wait(flight, 30)
    desk.fly(flight)
    await settle()
    desk.clock.advance(1)
    assert await waiter == "done"


async def test_a_closed_loop_with_a_waiter_harms_nobody() -> None:
    jobs = Jobs()
    desk = Desk(spawn=jobs)
    flight = desk.flight()
    other = asyncio.new_event_loop()
    other_waiter = flight.join(math.inf).wait(desk.clock, math.inf)
    task = other.create_task(other_waiter)
    thread = threading.Thread(target=lambda: other.run_until_complete(asyncio.sleep(0)))
    thread.start()
    thread.join(WAIT)
    other.close()
    waiter = desk.wait(flight, 30)
    desk.fly(flight)
    await settle()
    jobs.run()
    assert await waiter == "done"
    task._log_destroy_pending = False  # type: ignore[attr-defined]


@pytest.mark.slow
async def test_a_flight_keeps_nothing_of_callers_that_have_gone() -> None:
    """Else an outage would fill the memory: flights last as long as somebody waits, and callers come and go."""
    desk = Desk()
    flight = desk.flight()

    class Mark: ...

    def caller(marks: list[weakref.ref[Mark]]) -> None:
        mark = Mark()
        marks.append(weakref.ref(mark))
        loop = asyncio.new_event_loop()
        loop.mark = mark  # type: ignore[attr-defined]
        with pytest.raises(KmsUnavailable):
            loop.run_until_complete(flight.join(-1.0).wait(SystemClock(), -1.0))
        loop.close()

    marks: list[weakref.ref[Mark]] = []
    thread = threading.Thread(target=caller, args=(marks,), daemon=True)
    thread.start()
    thread.join(WAIT)
    gc.collect()
    assert flight.waiters == 0
    assert [mark() for mark in marks] == [None]


async def test_each_waiter_has_its_own_deadline_and_the_longest_keeps_the_flight_going() -> None:
    desk = Desk(*unavailable(100))
    begun = desk.clock.monotonic()
    flight = desk.flight()
    short = desk.wait(flight, 10)
    desk.fly(flight)
    await settle()
    desk.clock.advance(5)
    long = desk.wait(flight, 60)
    await settle()
    desk.clock.advance(4.9)
    await settle()
    assert not short.done()
    desk.clock.advance(0.1)
    with pytest.raises(KmsUnavailable, match="no answer"):
        await short
    desk.clock.advance(40)
    await settle()
    attempts = desk.attempts
    assert attempts > 10
    assert not long.done()
    desk.failures.clear()
    desk.clock.advance(5)
    assert await long == "done"
    assert desk.clock.monotonic() - begun < 60
    assert desk.attempts == attempts + 1


async def test_a_waiter_whom_nothing_answered_gets_an_error_at_its_deadline() -> None:
    desk = Desk(spawn=Jobs())  # a call that hangs
    flight = desk.flight()
    waiter = desk.wait(flight, 30)
    desk.fly(flight)
    await settle()
    desk.clock.advance(29.999)
    await settle()
    assert not waiter.done()
    desk.clock.advance(0.001)
    with pytest.raises(KmsUnavailable, match="before the deadline"):
        await waiter


async def test_each_waiter_gets_an_error_of_its_own_without_the_frames_of_the_attempt() -> None:
    desk = Desk(KeyDenied("no"))
    flight = desk.flight()
    waiters = [desk.wait(flight, 30) for _ in range(2)]
    desk.fly(flight)
    errors = await asyncio.gather(*waiters, return_exceptions=True)
    assert errors[0] is not errors[1]
    for error in errors:
        assert isinstance(error, KeyDenied)
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert "work" not in frames
        assert "_attempt" not in frames
        assert (error.__cause__, error.__context__) == (None, None)
