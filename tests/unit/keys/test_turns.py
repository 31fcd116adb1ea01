"""Turns: while a master key throttles, the attempts of a process wait for one another, and nobody else waits."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from envelope_codec._facts import Meaning
from envelope_codec.errors import EnvelopeError, KeyDenied, KmsUnavailable
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.sealing_key import WrappingKey
from envelope_codec.keys.turns import Turns, Waiting
from envelope_codec.provider.meanings import SERVER_ERROR, THROTTLED
from envelope_codec.testing import FakeKms, ManualClock
from tests.support.flights import Desk
from tests.support.keyring_on_fakes import LEASE, LIMITS, Jobs, Ring, settle, wrapped_by


class Throttling(FakeKms):
    """A KMS that answers so many calls a second, and throttles the rest."""

    def __init__(self, clock: ManualClock, quota: float) -> None:
        super().__init__()
        self.quota = quota
        self.times: list[float] = []
        self.throttled = 0
        self._clock = clock
        self.before_call = self._throttle

    def _throttle(self, operation: str) -> None:
        now = self._clock.monotonic()
        self.times.append(now)
        if sum(then > now - 1.0 for then in self.times) > self.quota:
            self.throttled += 1
            raise THROTTLED.make_error(operation=operation, key_id=self.key_id)


def throttled(kms: FakeKms, count: int = 1, meaning: Meaning = THROTTLED) -> None:
    """Have the next calls of ``kms`` throttled."""
    kms.fail_next(*[meaning.make_error(operation="unwrap", key_id=kms.key_id) for _ in range(count)])


def opening(ring: Ring, count: int, meaning: Meaning = THROTTLED) -> list[asyncio.Task[bytes]]:
    """So many callers with a record each, the first of whom is throttled, or fails by another ``meaning``."""
    records = [wrapped_by(ring.kms)[0] for _ in range(count)]
    throttled(ring.kms, meaning=meaning)
    return [asyncio.ensure_future(ring.keyring.opening_key(record)) for record in records]


def without_faults(kms: FakeKms) -> FakeKms:
    """The same key material."""
    other = FakeKms(kms.key_id)
    other._versions = kms._versions
    return other


async def test_a_throttled_process_asks_for_one_record_after_another_and_opens_them_all() -> None:
    clock = ManualClock()
    kms = Throttling(clock, 2)
    ring = Ring(kms, clock=clock)
    records = [wrapped_by(without_faults(kms))[0] for _ in range(40)]
    tasks = [asyncio.ensure_future(ring.keyring.opening_key(record, timeout=600.0)) for record in records]
    await settle()
    for _ in range(6_000):
        clock.advance(0.1)
        await settle()
        if all(task.done() for task in tasks):
            break
    assert all(isinstance(task.result(), bytes) for task in tasks)
    # All come at first, before anything is known. Each retried by itself would be throttled ten times as often.
    assert kms.throttled < 40 + 20


async def test_who_comes_while_a_master_key_throttles_waits_without_a_call() -> None:
    ring = Ring()
    records = [wrapped_by(ring.kms)[0] for _ in range(3)]
    throttled(ring.kms)
    tasks = [asyncio.ensure_future(ring.keyring.opening_key(record)) for record in records]
    await settle()
    assert ring.kms.unwraps == 1
    assert ring.events.of("unwrap") == ["KmsUnavailable"], "what is not asked is not reported"
    while not all(task.done() for task in tasks):
        before = ring.kms.unwraps
        due = ring.clock.next_due
        assert due is not None
        ring.clock.advance(due)
        assert ring.kms.unwraps <= before + 1
        await settle()
    assert ring.kms.unwraps == 4


async def test_turns_are_given_in_order_and_who_was_throttled_is_the_next() -> None:
    jobs = Jobs()
    ring = Ring(spawn=jobs)
    records = [wrapped_by(ring.kms)[0] for _ in range(4)]
    done: list[int] = []

    async def open_(number: int) -> None:
        await ring.keyring.opening_key(records[number])
        done.append(number)

    throttled(ring.kms, 2)
    tasks = [asyncio.ensure_future(open_(number)) for number in range(4)]
    while not all(task.done() for task in tasks):
        await settle()
        if not jobs.run_one():
            due = ring.clock.next_due
            assert due is not None
            ring.clock.advance(due)
    await settle()
    assert done == [1, 2, 3, 0] or done == [0, 1, 2, 3]
    assert ring.kms.unwraps == 6


async def test_no_caller_waits_longer_than_its_deadline_and_is_told_why() -> None:
    ring = Ring()
    first, second = (wrapped_by(ring.kms)[0] for _ in range(2))
    throttled(ring.kms, 100)
    tasks = [asyncio.ensure_future(ring.keyring.opening_key(record, timeout=3.0)) for record in (first, second)]
    for _ in range(30):
        await settle()
        ring.clock.advance(0.1)
    await settle()
    for task in tasks:
        with pytest.raises(KmsUnavailable) as caught:
            await task
        assert caught.value.code == "throttled"
    before = ring.kms.unwraps
    ring.clock.advance(600.0)
    assert ring.kms.unwraps == before, "nobody waits any more"
    assert ring.clock.next_due is None
    assert not ring.keyring._opening._flights


async def test_renewals_and_new_keys_wait_for_no_turn() -> None:
    ring = Ring(limits=LIMITS)
    key = await ring.seal()
    ring.clock.advance(0.6 * LEASE)
    await ring.seal()
    waiting = opening(ring, 50)
    await settle()
    assert isinstance(key, WrappingKey)
    lease = key.leases[0]
    before = ring.kms.unwraps
    ring.keyring._leases.renewals.renew(lease)
    assert ring.kms.unwraps == before + 1
    assert await ring.finish(ring.keyring.sealing_key("other"))
    for task in waiting:
        task.cancel()
    await settle()


async def test_renewals_that_are_throttled_all_the_time_take_no_turn_away() -> None:
    ring = Ring(jitter=1.0)
    namespaces = [f"n{number}" for number in range(50)]
    for namespace in namespaces:
        await ring.seal(namespace)
        ring.clock.advance(0.1)  # so that they are renewed one after another

    def seal_everywhere() -> None:
        for namespace in namespaces:
            assert ring.keyring.try_sealing_key(namespace)

    throttled(ring.kms, 100_000)
    ring.advance(LEASE, step=1.0, use=seal_everywhere)
    [record] = [wrapped_by(without_faults(ring.kms))[0]]
    asked = 0

    def count(operation: str) -> None:
        nonlocal asked
        asked += ring.keyring._calls._attempt_here().turn is not None

    ring.kms.before_call = count
    task = asyncio.ensure_future(ring.keyring.opening_key(record, timeout=30.0))
    await settle()
    for _ in range(29):
        ring.advance(1.0, step=0.1, use=seal_everywhere)
        await settle()
    assert asked >= 5, "one in 5 s at least"
    task.cancel()


async def test_a_namespace_waits_for_one_turn_of_each_other_however_many_records_those_have() -> None:
    ring = Ring()
    many = [wrapped_by(ring.kms, namespace="many")[0] for _ in range(200)]
    few = [wrapped_by(ring.kms, namespace="few")[0] for _ in range(3)]
    throttled(ring.kms)
    crowd = [asyncio.ensure_future(ring.keyring.opening_key(record, timeout=600.0)) for record in many]
    await settle()
    tasks = [asyncio.ensure_future(ring.keyring.opening_key(record, timeout=600.0)) for record in few]
    await settle()
    before = ring.kms.unwraps
    while not all(task.done() for task in tasks):
        due = ring.clock.next_due
        assert due is not None
        ring.clock.advance(due)
        await settle()
    assert ring.kms.unwraps <= before + 2 * len(few)
    for task in crowd:
        task.cancel()
    await settle()


async def test_an_attempt_that_nobody_wants_is_forgotten_before_the_next_is_made() -> None:
    ring = Ring()
    wanted, unwanted, last = (wrapped_by(ring.kms)[0] for _ in range(3))
    throttled(ring.kms)
    records = (wanted, unwanted, last)
    tasks = [asyncio.ensure_future(ring.keyring.opening_key(record, timeout=600.0)) for record in records]
    await settle()
    tasks[1].cancel()
    await settle()
    under_way: list[int] = []
    # Who asks for it from now on has an attempt of its own, and is not told of the one that was given up.
    ring.kms.before_call = lambda operation: under_way.append(len(ring.keyring._opening._flights))
    ring.clock._move(ring.clock.monotonic() + 60.0)  # the timer is late, so that all have their turns at once
    ring.clock.advance(0.0)
    await settle()
    assert under_way == [2, 1]
    assert tasks[0].result()
    assert tasks[2].result()


class Holds(AbstractContextManager[None]):
    """A lock, and how many attempts were dropped in each hold of it."""

    def __init__(self) -> None:
        self.dropped = [0]

    def __exit__(self, *exception: object) -> None:
        self.dropped.append(0)

    def drop(self) -> bool:
        """Drop an attempt."""
        self.dropped[-1] += 1
        return True


def test_any_number_that_nobody_wants_cost_no_turn_and_no_long_hold_of_the_lock() -> None:
    clock, lock = ManualClock(), Holds()
    owner: Any = SimpleNamespace(lock=lock, clock=clock)
    turns = Turns(owner)
    told: list[str] = []
    for number in range(1_000):
        namespace = f"n{number % 7}"
        turns.join(Waiting(namespace, lock.drop, pytest.fail, lambda: told.append("over")), again=False)
    turns.join(Waiting("n8", lambda: False, lambda: told.append("begun"), pytest.fail), again=False)
    clock.advance(0.0)
    assert sorted(told) == ["begun"] + ["over"] * 1_000
    assert sum(lock.dropped) == 1_000
    assert max(lock.dropped) <= 64
    assert clock.next_due is None


async def test_another_master_key_is_not_paced_and_opens_what_the_throttled_one_would() -> None:
    first, second, other = FakeKms(), FakeKms(), FakeKms()
    ring = Ring({"default": KeySet(first, (second,)), "other": KeySet(other)})
    shared = [wrapped_by(first, second)[0] for _ in range(5)]
    throttled(first)
    before = second.unwraps
    for record in shared:
        assert await ring.keyring.opening_key(record)
    assert first.unwraps == 1
    assert second.unwraps == before + 5
    for _ in range(20):
        assert await ring.keyring.opening_key(wrapped_by(other, namespace="other")[0])
    assert other.unwraps == 20


async def test_another_outage_is_retried_as_before() -> None:
    ring = Ring()
    tasks = opening(ring, 5, SERVER_ERROR)
    await settle()
    assert ring.kms.unwraps == 5
    ring.clock.advance(0.1)
    await settle()
    assert all(task.done() for task in tasks)


async def test_a_keyring_that_is_closed_ends_those_who_wait_for_a_turn() -> None:
    ring = Ring()
    tasks = opening(ring, 5)
    await settle()
    ring.keyring.close()
    await settle()
    for task in tasks:
        assert isinstance(task.exception(), EnvelopeError)
    assert ring.clock.next_due is None


async def test_a_call_that_comes_while_the_keyring_is_closed_does_not_break_that() -> None:
    ring = Ring()
    tasks = opening(ring, 5)
    await settle()
    calls = ring.keyring._calls
    [turns] = calls._turns.values()
    close = turns.close

    def close_while_another_key_is_called() -> None:
        calls._turns_of(FakeKms())
        close()

    turns.close = close_while_another_key_is_called  # type: ignore[method-assign]
    ring.keyring.close()
    await settle()
    assert all(isinstance(task.exception(), EnvelopeError) for task in tasks)


async def test_in_direct_mode_what_is_sealed_waits_for_its_turn_as_well() -> None:
    ring = Ring(direct=True)
    throttled(ring.kms, 1)
    tasks = [asyncio.ensure_future(ring.keyring.sealing_key("default")) for _ in range(5)]
    await settle()
    assert ring.kms.wraps == 1
    for _ in range(200):
        due = ring.clock.next_due
        if due is not None:
            ring.clock.advance(due)
        await settle()
    assert all(task.done() for task in tasks)
    assert ring.kms.wraps == 6


def test_any_answer_shortens_the_interval_and_no_answer_does_not() -> None:
    calls, kms = Desk().calls, FakeKms()

    def interval_after(failure: EnvelopeError | None) -> float:
        def work() -> None:
            if failure is not None:
                raise failure

        with nullcontext() if failure is None else pytest.raises(type(failure)):
            calls.call("unwrap", kms, "default", work)
        return calls._turns_of(kms)._pacer.interval(calls.clock.monotonic())

    first = interval_after(THROTTLED.make_error(operation="unwrap", key_id=kms.key_id))
    assert first > 0
    assert interval_after(None) == first / 2
    assert interval_after(KeyDenied("no", operation="unwrap")) == first / 4
    assert interval_after(SERVER_ERROR.make_error(operation="unwrap", key_id=kms.key_id)) == first / 4
