"""Slots: one call at a time for each scope, what a refusal leaves behind, and what is forgotten."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from envelope_codec.errors import KeyDenied, KmsUnavailable
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.decisions import Start
from envelope_codec.keys.flight import Flight
from envelope_codec.keys.moment import Moment
from envelope_codec.keys.sealing_key import Scope, Term, Wrapped, WrappingKey
from envelope_codec.keys.slots import Slot, Slots
from envelope_codec.testing import FakeKms, ManualClock
from tests.support.keyring_on_fakes import Events, Jobs, inline, wrapped_by

TTL = 5.0


def new_key() -> WrappingKey:
    record, key = wrapped_by(FakeKms())
    return WrappingKey(Wrapped(record, key, (), ()), Term(Moment(2_000.0, 1_700_001_000.0), 1_800.0, 10, 9.0))


class Rack:
    """Slots over fakes, and attempts that fail as told."""

    def __init__(self, *, spawn: Callable[[Callable[[], None]], object] = inline) -> None:
        self.clock = ManualClock()
        self.calls = KmsCalls(clock=self.clock, observer=Events(), spawn=spawn, jitter=lambda: 0.0)
        self.forgotten: list[tuple[Scope, WrappingKey | None]] = []
        self.slots = Slots(self.calls, lambda slot: slot.current is not None, self.forget)
        self.attempts = 0
        self.failure: Exception | None = None

    def forget(self, scope: Scope, key: WrappingKey | None) -> None:
        self.forgotten.append((scope, key))

    def attempt(self, scope: Scope, slot: Slot) -> None:
        self.attempts += 1
        if self.failure is not None:
            raise self.failure

    def fly(self, start: Start = Start.CALL, *, deadline: float | None = None) -> Flight[None] | None:
        return self.slots.fly("default", self.attempt, lambda slot: start, deadline)


def test_a_slot_is_made_once() -> None:
    slots = Rack().slots
    assert (slots.get("default"), slots.key("default")) == (None, None)
    slot = slots.open("default")
    assert slots.open("default") is slots.get("default") is slot
    slot.current = new_key()
    assert slots.key("default") is slot.current


def test_there_is_one_call_at_a_time_for_a_scope() -> None:
    jobs = Jobs()
    rack = Rack(spawn=jobs)
    flights = [rack.fly() for _ in range(3)]
    assert flights[0] is not None
    assert flights[1:] == flights[:1] * 2
    assert rack.slots.open("default").flight is flights[0]
    assert (jobs.run(), rack.attempts, rack.slots.open("default").flight) == (1, 1, None)
    assert rack.fly() is not flights[0]


def test_nothing_is_decided_while_a_call_is_under_way() -> None:
    rack = Rack(spawn=Jobs())
    flight = rack.fly()
    assert rack.fly(Start.NONE) is rack.fly(Start.REFUSE) is flight


def test_where_there_is_no_need_no_call_is_made() -> None:
    rack = Rack()
    assert rack.fly(Start.NONE) is None
    assert rack.fly(Start.REFUSE) is None, "there is no refusal to repeat"
    assert rack.attempts == 0


def test_a_refusal_empties_the_slot_and_is_repeated_for_a_while() -> None:
    rack = Rack()
    slot = rack.slots.open("default")
    slot.current = new_key()
    error = KeyDenied("the master key is disabled")
    rack.slots.refuse(slot, error, TTL)
    assert slot.refusals == 1
    left = slot.current
    assert left is None
    with pytest.raises(KeyDenied) as refused:
        rack.fly(Start.REFUSE)
    assert refused.value is not error, "each caller has an error of its own"
    assert slot.is_refused(rack.clock.monotonic() + TTL - 0.1)
    assert not slot.is_refused(rack.clock.monotonic() + TTL)


def test_a_call_that_nobody_waits_for_is_retried_for_half_a_minute() -> None:
    rack = Rack()
    rack.failure = KmsUnavailable("no answer")
    rack.fly()
    rack.clock.advance(20)
    assert rack.slots.open("default").flight is not None
    rack.clock.advance(20)
    attempts = rack.attempts
    rack.clock.advance(600)
    assert attempts > 1
    assert (rack.attempts, rack.slots.open("default").flight) == (attempts, None)


async def test_a_caller_gets_what_the_call_comes_to() -> None:
    rack = Rack()
    rack.failure = KeyDenied("the master key is disabled")
    deadline = rack.clock.monotonic() + 10
    flight = rack.fly(deadline=deadline)
    assert flight is not None
    with pytest.raises(KeyDenied):
        await flight.wait(rack.clock, deadline)


def test_when_the_calls_are_closed_there_are_no_more() -> None:
    rack = Rack()
    rack.calls.close()
    with pytest.raises(KmsUnavailable, match="closed"):
        rack.fly()
    assert rack.slots.by_scope == {}


def test_only_the_key_in_use_can_be_removed() -> None:
    slots = Rack().slots
    slot = slots.open("default")
    slot.current = key = new_key()
    slots.remove(new_key(), "default")
    slots.remove(key, "another")
    assert slot.current is key
    slots.remove(key, "default")
    assert slot.current is None


def test_clearing_forgets_the_keys_and_cancels_the_timers() -> None:
    rack = Rack()
    for scope in ("a", "b"):
        slot = rack.slots.open(scope)
        slot.current, slot.timer = new_key(), rack.clock.call_later(10, lambda: None)
    rack.slots.clear()
    assert [slot.current for slot in rack.slots.by_scope.values()] == [None, None]
    assert rack.clock.next_due is None


def test_of_many_slots_those_where_nothing_is_sealed_are_forgotten_a_few_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("envelope_codec.keys.slots._MANY", 6)
    monkeypatch.setattr("envelope_codec.keys.slots._SWEPT_AT_ONCE", 3)
    rack = Rack()
    for number in range(6):
        rack.slots.open(f"{number}")
    used, flying, timed = (rack.slots.by_scope[name] for name in "012")
    used.current, flying.flight = new_key(), Flight(lambda: None)
    timed.timer = rack.clock.call_later(10, lambda: None)
    rack.slots.open("begins the sweep")
    assert rack.forgotten == []
    rack.slots.open("sweeps three")
    assert (rack.forgotten, rack.clock.next_due) == ([("2", None)], None)
    rack.slots.open("sweeps three more")
    assert [scope for scope, _ in rack.forgotten] == ["2", "3", "4", "5"]
    assert {"0", "1"} <= rack.slots.by_scope.keys()
