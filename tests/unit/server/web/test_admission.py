"""The budgets of callers, and what a request gives back."""

from __future__ import annotations

import pytest

from envelope_codec.server import ServerConfig
from envelope_codec.server.metrics import Metrics
from envelope_codec.server.web.admission import Admission, TooManyRefused
from envelope_codec.server.web.refusal import Refusal


def admission(**settings: object) -> Admission:
    return Admission(ServerConfig(**settings), Metrics())


def code(raised: pytest.ExceptionInfo[Refusal]) -> tuple[int, str]:
    return raised.value.status, raised.value.code


def test_requests_of_one_caller_are_bounded_by_rate_and_number() -> None:
    limited = admission(rate_limit="1/day")
    limited.visit("ada").leave()
    with pytest.raises(Refusal) as raised:
        limited.visit("ada")
    assert code(raised) == (429, "too_many_requests")
    busy = admission(max_requests_per_caller=1)
    first = busy.visit("ada")
    with pytest.raises(Refusal) as raised:
        busy.visit("ada")
    assert code(raised) == (429, "too_many_at_once")
    first.leave()
    busy.visit("ada")


def test_bytes_are_given_back_and_a_late_task_takes_none() -> None:
    bounded = admission(body_limit=10, max_body_bytes=100, max_body_bytes_per_caller=10)
    visit = bounded.visit("ada")
    visit.take_bytes(10)
    with pytest.raises(Refusal) as raised:
        visit.take_bytes(1)
    assert code(raised) == (429, "too_many_bytes")
    visit.give_back_bytes(5)
    visit.take_bytes(5)
    visit.leave()
    assert bounded._bytes.used == 0
    with pytest.raises(Refusal) as raised:
        visit.take_bytes(1)
    assert code(raised) == (503, "busy")
    visit.give_back_bytes(1)
    assert bounded._bytes.used == 0


def test_a_slot_is_held_while_a_request_is_answered() -> None:
    one = admission(max_requests=1, max_requests_per_caller=2)
    first, second = one.visit("ada"), one.visit("bob")
    with first.slot(), pytest.raises(Refusal) as raised, second.slot():
        pass
    assert code(raised) == (503, "busy")
    with second.slot():
        pass


def test_a_caller_with_too_many_refused_records_is_asked_about_no_others() -> None:
    visit = admission(refused_rate_limit="2/day").visit("ada")
    for _ in range(2):
        visit.check_refused()
        visit.count_refused()
    with pytest.raises(TooManyRefused):
        visit.check_refused()
