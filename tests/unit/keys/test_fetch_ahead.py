"""Keys that are fetched ahead: all at once, a few at a time, and with the outcome of one that is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envelope_codec.envelope import Record
from envelope_codec.errors import KeyDenied, KmsUnavailable
from envelope_codec.keys.keyset import KeySet
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import LEASE, LIMITS, REFUSAL, Jobs, Ring, corrupted, settle, wrapped_by


class Ahead(Ring):
    """A ring whose calls run when they are told to, and records of others."""

    def __init__(self, keys: KeySet | FakeKms | None = None) -> None:
        super().__init__(keys, spawn=Jobs())

    def records(self, count: int) -> list[Record]:
        """So many records, each with a key of its own."""
        return [wrapped_by(self.kms)[0] for _ in range(count)]

    def begin(self, *records: Record) -> list[bool]:
        """Fetch ahead; what was said of each."""
        return [self.keyring.fetch_ahead(record) for record in records]


async def test_keys_of_several_records_are_fetched_at_once_and_each_once() -> None:
    ring = Ahead()
    records = ring.records(4)
    assert all(ring.begin(*records))
    assert len(ring.jobs) == 4
    assert all(ring.begin(*records)), "what is under way is not begun again"
    assert ring.jobs.run() == 4
    assert None not in ring.use(*records)
    assert ring.begin(*records) == [True] * 4
    assert not ring.jobs
    assert ring.kms.unwraps == 4


@pytest.mark.parametrize("size", [1, 8, 31, 32, 100])
async def test_a_cache_that_has_no_room_for_what_is_fetched_ahead_costs_no_call_more(size: int) -> None:
    ring = Ring(limits=replace(LIMITS, cache_size=size))
    records = [wrapped_by(ring.kms)[0] for _ in range(100)]
    for number, record in enumerate(records):
        if ring.keyring.try_opening_key(record) is None:
            for other in records[number + 1 : number + 9]:
                ring.keyring.fetch_ahead(other)
            await ring.open(record)
    assert ring.kms.unwraps == 100


async def test_a_caller_joins_what_was_begun_ahead() -> None:
    ring = Ahead()
    [record] = ring.records(1)
    ring.begin(record)
    assert await ring.open(record)
    assert ring.kms.unwraps == 1


async def test_no_more_than_eight_are_under_way_and_callers_wait_for_none_of_them() -> None:
    ring = Ahead()
    records = ring.records(20)
    assert ring.begin(*records).count(True) == 8
    assert len(ring.jobs) == 8
    opened = ring.keyring.opening_key(records[-1])
    assert await ring.finish(opened)
    ring.jobs.run()
    assert ring.begin(*records).count(True) == 8 + 1 + 8
    ring.jobs.run()
    assert ring.kms.unwraps == 8 + 1 + 8


async def test_those_that_fail_make_room_as_well() -> None:
    ring = Ahead()
    records = ring.records(17)
    ring.kms.denied = True
    for begun in (records[:8], records[8:16]):
        assert all(ring.begin(*begun))
        ring.jobs.run()
    assert ring.kms.unwraps == 16


async def test_what_fails_ahead_is_not_tried_again_until_a_caller_asks() -> None:
    ring = Ahead()
    [record] = ring.records(1)
    ring.kms.fail_next(KmsUnavailable("throttled"))
    ring.begin(record)
    ring.jobs.run()
    assert ring.clock.next_due is None
    assert await ring.open(record)
    assert ring.kms.unwraps == 2


async def test_a_caller_who_joins_has_a_failed_attempt_made_again_until_its_deadline() -> None:
    ring = Ahead()
    [record] = ring.records(1)
    ring.kms.fail_next(*[KmsUnavailable("throttled")] * 3)
    ring.begin(record)
    assert await ring.open(record, timeout=30.0)
    assert ring.kms.unwraps == 4


async def test_a_record_that_was_refused_is_not_asked_for_ahead() -> None:
    ring = Ahead()
    record = corrupted(ring.records(1)[0], 0)
    ring.begin(record)
    ring.jobs.run()
    assert ring.begin(record) == [True]
    assert not ring.jobs
    ring.clock.advance(REFUSAL)
    ring.begin(record)
    assert ring.jobs.run() == 1


async def test_a_refusal_that_came_ahead_is_told_to_the_caller_without_another_call() -> None:
    ring = Ahead()
    [record] = ring.records(1)
    ring.kms.denied = True
    ring.begin(record)
    ring.jobs.run()
    with pytest.raises(KeyDenied):
        await ring.open(record)
    assert ring.kms.unwraps == 1


async def test_a_key_whose_lease_has_lapsed_is_left_to_the_one_call_that_renews_it_for_all() -> None:
    ring = Ahead()
    records = ring.records(5)
    for record in records:
        await ring.open(record)
    ring.advance(3 * LEASE, step=10.0, use=ring.jobs.run)
    before = ring.kms.unwraps
    assert all(ring.begin(*records))
    assert not ring.jobs
    for record in records:
        await ring.open(record)
    assert ring.kms.unwraps == before + 1


async def test_nothing_is_begun_while_a_master_key_does_not_answer() -> None:
    first, second = FakeKms(), FakeKms()
    ring = Ahead(KeySet(first, (second,)))
    records = [wrapped_by(first, second)[0] for _ in range(3)]
    first.down = True
    await ring.open(records[0])
    ring.begin(records[1])
    assert not ring.jobs
    first.down = False
    ring.clock.advance(60.0)
    await ring.open(records[2])
    ring.jobs.run()  # the probe
    ring.begin(records[1])
    assert len(ring.jobs) == 1


async def test_nothing_is_begun_for_a_namespace_without_master_keys_and_by_a_keyring_that_is_closed() -> None:
    ring = Ring({"a": KeySet(FakeKms())}, spawn=Jobs())
    assert ring.keyring.fetch_ahead(wrapped_by(ring.kms, namespace="b")[0])
    closed = Ahead()
    [record] = closed.records(1)
    closed.keyring.close()
    assert closed.begin(record) == [False]
    await settle()
    assert not ring.jobs
    assert not closed.jobs
