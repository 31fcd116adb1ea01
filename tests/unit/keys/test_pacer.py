"""The pacer: how long a process waits from call to call while a master key throttles."""

from __future__ import annotations

import pytest

from envelope_codec.keys.pacer import Pacer, PacerState, decayed, lengthened


@pytest.mark.parametrize(
    ("interval", "sent", "then"),
    [
        (0.0, 50, 0.04),  # half as many as before
        (0.0, 1_000, 0.002),
        (0.0, 5_000, 0.002),  # none is shorter
        (0.0, 10, 0.1),  # of few, no fewer than each by itself
        (0.0, 0, 0.1),
        (0.2, 10, 0.4),  # from then on it doubles
        (1.5, 1, 2.0),  # none is longer
    ],
)
def test_a_throttled_call_lengthens_the_interval(interval: float, sent: int, then: float) -> None:
    assert lengthened(interval, sent) == pytest.approx(then)


@pytest.mark.parametrize(
    ("interval", "seconds", "then"),
    [(0.0, 5.0, 0.0), (4.0, 0.0, 4.0), (4.0, 5.0, 2.0), (4.0, 10.0, 1.0), (5.0, 56.0, 0.00212), (5.0, 57.0, 0.0)],
)
def test_time_shortens_the_interval_and_ends_it_within_a_minute(interval: float, seconds: float, then: float) -> None:
    assert decayed(interval, seconds) == pytest.approx(then, rel=0.01)


def test_calls_go_as_they_come_until_one_is_throttled() -> None:
    pacer = Pacer()
    for number in range(100):
        assert pacer.wait(1.0 + number / 1_000) == 0.0
        pacer.send(1.0 + number / 1_000)
    assert pacer.state(2.0) is PacerState.FREE
    pacer.throttle(1.099, 1.2)
    assert pacer.state(1.2) is PacerState.PACED
    assert pacer.interval(1.2) == pytest.approx(0.02)


def test_the_calls_of_the_second_before_count_as_well() -> None:
    pacer = Pacer()
    for number in range(50):
        pacer.send(1.0 + number / 50)
    pacer.send(2.0)
    pacer.throttle(2.0, 2.05)
    assert pacer.interval(2.05) == pytest.approx(2 / 50)
    idle = Pacer()
    idle.send(1.0)
    idle.send(9.0)
    idle.throttle(9.0, 9.0)
    assert idle.interval(9.0) == pytest.approx(0.1)


def test_calls_that_were_under_way_together_lengthen_it_once() -> None:
    pacer = Pacer()
    for _ in range(50):
        pacer.send(1.0)
    for _ in range(50):
        pacer.throttle(1.0, 1.02)
    assert pacer.interval(1.02) == pytest.approx(0.04)
    pacer.send(1.3)
    pacer.throttle(1.3, 1.32)
    assert pacer.interval(1.32) == pytest.approx(0.08, rel=0.05)


def test_an_answered_call_halves_it_if_it_was_sent_since() -> None:
    pacer = Pacer()
    pacer.answer(1.0, 1.0)
    assert pacer.state(1.0) is PacerState.FREE
    pacer.send(1.0)
    pacer.throttle(1.0, 1.0)
    pacer.answer(0.9, 1.0)
    assert pacer.interval(1.0) == pytest.approx(0.1)
    pacer.answer(1.0, 1.0)
    assert pacer.interval(1.0) == pytest.approx(0.05)


def test_one_call_an_interval() -> None:
    pacer = Pacer()
    pacer.send(1.0)
    pacer.throttle(1.0, 1.0)
    pacer.send(1.0)
    assert pacer.wait(1.0) == pytest.approx(0.1)
    assert 0 < pacer.wait(1.05) < 0.05
    assert pacer.wait(1.1) == 0.0


def test_an_urgent_call_delays_no_turn() -> None:
    pacer = Pacer()
    pacer.send(1.0, urgent=True)
    pacer.throttle(1.0, 1.0)
    assert pacer.wait(1.0) == pytest.approx(0.1), "until one was throttled, each call counts"
    for tenth in range(11, 30):
        pacer.send(tenth / 10, urgent=True)
    assert pacer.wait(3.0) == 0.0
