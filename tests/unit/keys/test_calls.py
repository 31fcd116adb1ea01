"""Calls of a provider: retried, once for all, and whatever it raises."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import traceback
import weakref
from collections.abc import Callable

import pytest

from envelope_codec.errors import ConfigurationError, EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.testing import FakeKms
from tests.support.flights import Desk, unavailable
from tests.support.keyring_on_fakes import Events, Jobs, settle

WAIT = 30.0


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

    def work() -> str:
        last.append(desk.clock.monotonic())
        return desk.work()

    flight.work = work
    waiter = desk.wait(flight, 30)
    desk.fly(flight)
    await settle()
    desk.clock.advance(100)
    with pytest.raises(KmsUnavailable) as caught:
        await waiter
    assert str(caught.value) == f"no answer {desk.attempts}"
    assert begun + 24 < last[-1] < begun + 30


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
