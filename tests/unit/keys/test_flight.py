"""One operation, many waiters; and calls of a provider, whatever it does."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import threading
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from envelope_codec.errors import ConfigurationError, EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.clock import SystemClock
from envelope_codec.keys.flight import Flight, Stop, stopping
from envelope_codec.testing import FakeKms, ManualClock
from tests.support.keyring_on_fakes import Events, Jobs, inline, settle

WAIT = 30.0


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

    def flight(self, deadline: float = -math.inf, *, keep: bool = False) -> Flight[str]:
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


async def test_retries_stop_when_nobody_waits() -> None:
    desk = Desk(*unavailable(1_000))
    flight = desk.flight()
    waiter = desk.wait(flight, 600)
    desk.fly(flight)
    await settle()
    desk.clock.advance(20)
    waiter.cancel()
    await settle()
    attempts = desk.attempts
    desk.clock.advance(600)
    assert desk.attempts <= attempts + 1
    assert (desk.landed, desk.clock.next_due) == (1, None)


async def test_retries_go_on_for_nobody_where_that_is_asked_for_until_the_deadline() -> None:
    desk = Desk(*unavailable(1_000))
    flight = desk.flight(desk.clock.monotonic() + 30, keep=True)
    desk.fly(flight)
    desk.clock.advance(20)
    assert desk.landed == 0
    desk.clock.advance(10)
    attempts = desk.attempts
    desk.clock.advance(600)
    assert (desk.landed, desk.attempts, desk.clock.next_due) == (1, attempts, None)


async def test_no_attempt_starts_after_the_deadline_and_the_last_reason_is_told() -> None:
    desk = Desk(*unavailable(1_000))
    flight = desk.flight()
    begun = desk.clock.monotonic()
    last = [0.0]

    def work_and_note() -> Any:
        last.append(desk.clock.monotonic())
        return desk.work()

    flight.work = work_and_note
    waiter = desk.wait(flight, 30)
    desk.fly(flight)
    await settle()
    desk.clock.advance(100)
    with pytest.raises(KmsUnavailable) as caught:
        await waiter
    assert str(caught.value) == f"no answer {desk.attempts}"
    assert begun + 24 < last[-1] < begun + 30


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


@pytest.mark.parametrize(("jitter", "first", "longest"), [(0.0, 0.05, 2.5), (1.0, 0.1, 5.0)])
async def test_backoff_doubles_up_to_a_bound_and_is_jittered(jitter: float, first: float, longest: float) -> None:
    desk = Desk(*unavailable(40))
    desk.jitter = jitter
    flight = desk.flight(math.inf, keep=True)
    desk.fly(flight)
    delays = []
    while (due := desk.clock.next_due) is not None:
        delays.append(due)
        desk.clock.advance(due)
    assert desk.attempts == 41
    assert delays[:4] == pytest.approx([first, 2 * first, 4 * first, 8 * first])
    assert max(delays) == pytest.approx(longest)
    assert delays[10:] == pytest.approx([longest] * 30)


async def test_a_refusal_is_not_retried() -> None:
    desk = Desk(KeyDenied("no", key_id="k"))
    flight = desk.flight()
    waiter = desk.wait(flight, 30)
    desk.fly(flight)
    with pytest.raises(KeyDenied) as caught:
        await waiter
    assert (desk.attempts, desk.landed, caught.value.key_id) == (1, 1, "k")


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


@pytest.mark.parametrize("error", [KeyDenied("no"), KmsUnavailable("not now")])
async def test_a_failed_attempt_leaves_none_of_its_secrets_behind(error: Exception) -> None:
    """An error holds its frames, and those hold what was unwrapped."""

    class Secret: ...

    seen: list[weakref.ref[Secret]] = []

    def work() -> str:
        secret = Secret()
        seen.append(weakref.ref(secret))
        raise type(error)(str(error))

    desk = Desk()
    flight = desk.flight(math.inf, keep=True)
    flight.work = work
    desk.fly(flight)
    gc.collect()
    assert [secret() for secret in seen] == [None]
    assert flight.failures == 1


async def test_work_that_fails_in_an_unexpected_way_is_retried_and_told_as_an_outage(
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk = Desk(*[ZeroDivisionError("secret text")] * 1_000)
    flight = desk.flight()
    waiter = desk.wait(flight, 30)
    desk.fly(flight)
    await settle()
    desk.clock.advance(31)
    with pytest.raises(KmsUnavailable) as caught:
        await waiter
    assert "secret text" not in "".join(traceback.format_exception(caught.value))
    assert desk.attempts > 1
    assert "secret text" in caplog.text


async def test_closing_fails_every_flight_and_starts_no_attempt_more() -> None:
    jobs = Jobs()
    desk = Desk(*unavailable(1), spawn=jobs)
    waiting_for_retry, queued = desk.flight(), desk.flight()
    waiters = [desk.wait(waiting_for_retry, 30)]
    desk.fly(waiting_for_retry)
    jobs.run()
    waiters.append(desk.wait(queued, 30))
    desk.fly(queued)
    await settle()
    desk.calls.close()
    for waiter in waiters:
        with pytest.raises(KmsUnavailable, match="closed"):
            await waiter
    jobs.run()
    desk.clock.advance(100)
    assert (desk.attempts, len(jobs), desk.clock.next_due) == (1, 0, None)
    late = desk.flight()
    waiters = [desk.wait(late, 30)]
    desk.fly(late)
    with pytest.raises(KmsUnavailable, match="closed"):
        await waiters[0]


async def test_threads_that_can_not_be_had_fail_the_flight() -> None:
    def spawn(job: Callable[[], None]) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    desk = Desk(spawn=spawn)
    flight = desk.flight()
    waiter = desk.wait(flight, 30)
    desk.fly(flight)
    with pytest.raises(KmsUnavailable):
        await waiter
    assert desk.landed == 1


# --- shutdown -----------------------------------------------------------------------------------------------------


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


# --- one call -----------------------------------------------------------------------------------------------------


class OwnError(KmsUnavailable):
    """A provider's own subclass, which `EnvelopeError.fresh` can't copy."""

    def __init__(self) -> None:
        super().__init__("told by a subclass", operation="wrap", key_id="its key")


def call_that_raises(error: BaseException) -> tuple[EnvelopeError, Events]:
    desk = Desk()

    def work() -> None:
        raise error

    with pytest.raises(EnvelopeError) as caught:
        desk.calls.call("unwrap", FakeKms("the key"), "default", work)
    return caught.value, desk.events


@pytest.mark.parametrize(
    "error",
    [
        ValueError("https://host/key"),
        asyncio.CancelledError("https://host/key"),
        SystemExit("https://host/key"),
        ConfigurationError("https://host/key"),
    ],
)
def test_an_error_that_no_provider_may_raise_becomes_an_outage_and_is_logged_with_the_key_id(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    told, events = call_that_raises(error)
    assert type(told) is KmsUnavailable
    assert (told.operation, told.key_id) == ("unwrap", "the key")
    assert "https" not in "".join(traceback.format_exception(told))
    assert events.of("unwrap") == ["KmsUnavailable"]
    assert [(record.levelno, "the key" in record.getMessage()) for record in caplog.records] == [(logging.ERROR, True)]
    assert "https://host/key" in caplog.text


@pytest.mark.parametrize("kind", [KmsUnavailable, KeyDenied, InvalidCiphertext])
def test_an_error_that_a_provider_may_raise_is_passed_on_and_not_logged_here(
    kind: type[EnvelopeError], caplog: pytest.LogCaptureFixture
) -> None:
    told, events = call_that_raises(kind("why", operation="unwrap", key_id="its key"))
    assert (type(told), told.reason, told.operation, told.key_id) == (kind, "why", "unwrap", "its key")
    assert [(event.outcome, event.reason) for event in events] == [(kind.__name__, "why")]
    assert caplog.records == []


def test_a_provider_s_own_subclass_of_an_error_can_be_told_to_many() -> None:
    told, _ = call_that_raises(OwnError())
    assert type(told.fresh()) is KmsUnavailable
    assert (told.reason, told.operation, told.key_id) == ("told by a subclass", "wrap", "its key")
