"""A master key that a wrapping key lacks, by an outage or a refusal, is tried by few calls, and soon used again."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Mapping

import pytest

from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.sealing_key import WrappingKey
from envelope_codec.kms import Unwrapped, WrappedSecret
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import LIMITS, Jobs, Ring, settle

HOUR = 3_600.0
STEP = 10.0


class Lacking:
    """A ring in use whose backup key does not wrap."""

    def __init__(self, fault: str = "denied", *, jitter: float = 0.0, **key_set: object) -> None:
        self.first, self.backup, self.fault = FakeKms(), FakeKms(), fault
        self.ring = Ring(KeySet(self.first, (self.backup,)), jitter=jitter)
        self.begun = self.ring.clock.monotonic()
        self.tried: list[float] = []
        setattr(self.backup, fault, True)
        self.backup.before_call = lambda operation: self.tried.append(self.ring.clock.monotonic() - self.begun)

    async def seal(self) -> None:
        await self.ring.seal()
        self.tried.clear()

    def mend(self) -> None:
        setattr(self.backup, self.fault, False)

    def break_again(self) -> None:
        setattr(self.backup, self.fault, True)

    def use(self, seconds: float, step: float = STEP) -> None:
        self.ring.advance(seconds, step=step, use=lambda: self.ring.keyring.try_sealing_key("default"))

    @property
    def recipients(self) -> int:
        key = self.ring.keyring.try_sealing_key("default")
        assert key is not None
        return len(key.record.recipients)


@pytest.fixture(params=["down", "denied"])
def lacking(request: pytest.FixtureRequest) -> Lacking:
    return Lacking(request.param)


async def test_it_is_tried_after_a_minute_and_then_less_and_less_often(lacking: Lacking) -> None:
    await lacking.seal()
    lacking.use(5 * HOUR)
    assert lacking.tried == [60, 180, 420, 900, 1_860, 3_780, 7_380, 10_980, 14_580]
    assert lacking.first.wraps == 1, "no record is made to find out"


async def test_trials_are_jittered() -> None:
    lacking = Lacking(jitter=1.0)
    await lacking.seal()
    lacking.use(300, step=1)
    assert lacking.tried == [75, 225]


async def test_it_is_used_at_once_when_a_trial_succeeds(lacking: Lacking) -> None:
    await lacking.seal()
    assert lacking.recipients == 1
    lacking.mend()
    lacking.use(59, step=1)
    assert lacking.recipients == 1
    lacking.use(1, step=1)
    assert lacking.recipients == 2
    assert lacking.ring.keyring._sealing._succession.completion._trials._trials == {}


async def test_one_that_comes_and_goes_makes_one_record_an_hour() -> None:
    lacking = Lacking(jitter=0.0)
    await lacking.seal()
    records = set()

    def note() -> None:
        key = lacking.ring.keyring.try_sealing_key("default")
        assert key is not None
        records.add(key.record.id)
        if len(key.record.recipients) == 2:  # it is lost again, and a new key is made without it
            lacking.break_again()
            assert isinstance(key, WrappingKey)
            key.ripen()
            lacking.ring.keyring._sealing._succession.prepare("default", key)
        else:
            lacking.mend()

    lacking.ring.advance(10 * HOUR, step=STEP, use=note)
    complete = 1 + 10  # the first at once
    assert complete - 1 <= sum(1 for _ in records) / 2 <= complete + 1


async def test_the_second_time_is_an_hour_after_the_first_and_spread_over_ten_minutes() -> None:
    for jitter, soonest in ((0.0, HOUR), (1.0, HOUR + 600)):
        lacking = Lacking(jitter=jitter)
        await lacking.seal()
        lacking.mend()
        lacking.use(80, step=1)
        assert lacking.recipients == 2
        first = lacking.ring.clock.monotonic()
        lacking.break_again()
        await lacking.ring.finish(lacking.ring.keyring.renew())
        assert lacking.recipients == 1
        lacking.mend()
        lacking.use(soonest - 100)
        assert lacking.recipients == 1
        lacking.use(110)
        assert lacking.recipients == 2
        assert lacking.ring.clock.monotonic() - first <= soonest + 20


async def test_key_sets_that_share_a_master_key_and_a_context_share_its_trials() -> None:
    one, other, backup = FakeKms(), FakeKms(), FakeKms()
    backup.denied = True
    sets = [KeySet(one, (backup,)), KeySet(other, (backup,)), KeySet(one, (backup,), context={"tenant": "1"})]
    jobs = Jobs()
    ring = Ring(sets[0], spawn=jobs, opening_key_sets=lambda namespace: KeySet(one, (backup,), (other,)))
    places = [("default", key_set) for key_set in sets]
    for place in places:
        await ring.finish(ring.keyring.sealing_key(place))
    backup.wraps = 0
    ring.clock.advance(61)
    assert len(jobs) == 2, "one for each context"
    backup.denied = False
    jobs.run()
    await settle()
    assert backup.wraps == 2 + 3, "a trial for each context, and a record for each key set"
    keys = [ring.keyring.try_sealing_key(place) for place in places]
    assert [len(key.record.recipients) for key in keys if key is not None] == [2, 2, 2]


async def test_where_nothing_is_sealed_nothing_is_tried(lacking: Lacking) -> None:
    await lacking.ring.finish(lacking.ring.keyring.prewarm("default"))
    lacking.tried.clear()
    lacking.ring.clock.advance(200)
    assert lacking.tried == []
    assert lacking.recipients == 1
    assert len(lacking.tried) == 1, "the first payload brings it forward"


async def test_a_key_that_is_used_now_and_then_costs_one_trial_a_use() -> None:
    lacking = Lacking()
    await lacking.seal()
    for _ in range(4):
        lacking.ring.clock.advance(200)
        assert lacking.recipients == 1
    assert 3 <= len(lacking.tried) <= 4


async def test_one_that_wraps_and_does_not_unwrap_makes_no_record() -> None:
    class EncryptOnly(FakeKms):
        def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
            self.denied = True
            try:
                return super().unwrap(wrapped, context)
            finally:
                self.denied = False

    first, backup = FakeKms(), EncryptOnly()
    ring = Ring(KeySet(first, (backup,)))
    await ring.seal()
    ring.advance(2 * HOUR, step=STEP, use=lambda: ring.keyring.try_sealing_key("default"))
    assert first.wraps == 1


async def test_a_role_that_may_only_encrypt_tries_without_unwrapping() -> None:
    first, backup = FakeKms(), FakeKms()
    backup.denied = True
    ring = Ring(KeySet(first, (backup,)), verify_wraps=False)
    await ring.seal()
    backup.denied = False
    ring.advance(70, step=STEP, use=lambda: ring.keyring.try_sealing_key("default"))
    assert len((await ring.seal()).record.recipients) == 2
    assert (first.unwraps, backup.unwraps) == (0, 0)


async def test_trials_end_with_the_key_and_with_the_keyring() -> None:
    lacking = Lacking()
    await lacking.seal()
    lacking.first.denied = True
    lacking.use(600)
    assert lacking.ring.keyring.try_sealing_key("default") is None
    lacking.tried.clear()
    lacking.ring.clock.advance(2 * HOUR)
    assert lacking.tried == []
    other = Lacking()
    await other.seal()
    other.ring.keyring.close()
    assert other.ring.clock.next_due is None


@pytest.mark.slow
async def test_places_where_nothing_is_sealed_any_more_are_forgotten_with_their_trials_a_few_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A resolver may give each of any number of tenants a key set of its own, and event loops wait for the lock."""
    monkeypatch.setattr("envelope_codec.keys.slots._MANY", 20)
    monkeypatch.setattr("envelope_codec.keys.slots._SWEPT_AT_ONCE", 5)
    kms, backup = FakeKms(), FakeKms()
    backup.denied = True
    ring = Ring(kms, limits=dataclasses.replace(LIMITS, cache_size=1))  # what is kept for opening is bounded by itself
    sealing = ring.keyring._sealing
    trials = sealing._succession.completion._trials

    async def seal(tenant: int) -> None:
        await ring.keyring.sealing_key(("n", KeySet(kms, (backup,), context={"tenant": str(tenant)})))

    for tenant in range(100):
        await seal(tenant)
    assert len(sealing._slots.by_scope) == len(trials._trials) == 100
    ring.clock.advance(48 * HOUR)
    before = len(sealing._slots.by_scope)
    for tenant in range(100, 103):
        await seal(tenant)
        assert before - 5 <= len(sealing._slots.by_scope) <= before + 1
        before = len(sealing._slots.by_scope)
    for tenant in range(103, 150):
        await seal(tenant)
    assert len(sealing._slots.by_scope) == len(trials._trials) == len(trials._names) < 80
    gc.collect()
    assert len(ring.keyring._leases.register.known) == len(sealing._slots.by_scope)


async def test_how_many_recipients_there_are_is_reported(lacking: Lacking) -> None:
    await lacking.seal()
    lacking.mend()
    lacking.use(61, step=1)
    told = [event for event in lacking.ring.events if event.operation == "key"]
    assert [(event.recipients, event.lacking) for event in told] == [(1, 1), (2, 0)]
    assert {(event.namespace, event.key_id) for event in told} == {("default", lacking.first.key_id)}


async def test_in_direct_mode_a_lack_is_told_when_it_begins_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    first, backup = FakeKms(), FakeKms()
    backup.denied = True
    ring = Ring(KeySet(first, (backup,)), direct=True)
    for _ in range(10):
        await ring.seal()
    backup.denied = False
    for _ in range(10):
        await ring.seal()
    told = [(event.recipients, event.lacking) for event in ring.events if event.operation == "key"]
    assert told == [(1, 1), (2, 0)]
    assert len([line for line in caplog.messages if "goes on without it" in line]) == 1


async def test_a_provider_that_fails_unexpectedly_in_a_trial_is_tried_again() -> None:
    class Odd(FakeKms):
        def accepts(self, key_id: str) -> bool:
            if self.wraps > 1:
                raise ValueError("a bug")
            return super().accepts(key_id)

    first, backup = FakeKms(), Odd()
    backup.denied = True
    ring = Ring(KeySet(first, (backup,)))
    await ring.seal()
    backup.denied = False
    ring.advance(300, step=STEP, use=lambda: ring.keyring.try_sealing_key("default"))
    assert backup.wraps == 3
    ring.keyring.close()
    assert ring.clock.next_due is None


async def test_closing_cancels_a_replacement_that_is_due() -> None:
    lacking = Lacking()
    await lacking.seal()
    lacking.mend()
    lacking.use(80, step=1)
    lacking.break_again()
    await lacking.ring.finish(lacking.ring.keyring.renew())
    lacking.mend()
    lacking.use(80, step=1)
    assert lacking.recipients == 1
    lacking.ring.keyring.close()
    assert lacking.ring.clock.next_due is None
