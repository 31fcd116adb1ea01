"""A KMS that can't be reached is not one that refuses: grace, and what ends it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter

import pytest

from envelope_codec.envelope import Purpose, Record
from envelope_codec.errors import KeyDenied, KmsUnavailable
from envelope_codec.keys.keyset import KeySet
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import GRACE, LEASE, LIMITS, MAX_AGE, REFUSAL, Jobs, Ring, settle, wrapped_by

END = LEASE + GRACE
"""Seconds after the last success at which everything ends, if the KMS can't be reached."""


async def in_outage(ring: Ring) -> tuple[Record, bytes]:
    """A ring that has just opened a record and sealed, at which moment the KMS went away."""
    record, key = wrapped_by(ring.kms)
    await ring.seal()
    await ring.open(record)
    ring.kms.down = True
    return record, key


# --- grace --------------------------------------------------------------------------------------------------------


async def test_grace_serves_opening_and_sealing_to_its_last_second_and_no_longer() -> None:
    ring = Ring()
    record, key = await in_outage(ring)
    sealing = await ring.seal()
    missing: list[float] = []
    begun = ring.clock.monotonic()

    def use() -> None:
        if ring.keyring.try_opening_key(record) != key or ring.keyring.try_sealing_key("default") is not sealing:
            missing.append(ring.clock.monotonic() - begun)

    ring.advance(END - 1, step=1, use=use)
    assert missing == []
    ring.clock.advance(0.999)
    use()
    assert missing == []
    ring.clock.advance(0.001)
    assert ring.keyring.try_opening_key(record) is None
    assert ring.keyring.try_sealing_key("default") is None
    with pytest.raises(KmsUnavailable):
        await ring.open(record)
    with pytest.raises(KmsUnavailable):
        await ring.seal()


@pytest.mark.parametrize("when", [LEASE, LEASE + 1, END / 2, END - 1])
async def test_grace_serves_what_was_idle_when_the_outage_began(when: float) -> None:
    """Only a caller notices the outage; grace counts from the lease's end all the same."""
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    sealing = await ring.seal()
    await ring.open(record)
    renewed = ring.clock.monotonic() + 0.8 * LEASE
    ring.clock.advance(2 * LEASE)  # renewed once, since it was used; then it lapses
    ring.kms.down = True
    ring.clock.advance(max(0.0, renewed + when - ring.clock.monotonic()))
    assert ring.keyring.try_opening_key(record) is None
    assert await ring.open(record) == key
    assert await ring.seal() is sealing
    ring.clock.advance(renewed + END - ring.clock.monotonic() - 0.001)
    assert ring.keyring.try_opening_key(record) == key
    ring.clock.advance(0.001)
    assert ring.keyring.try_opening_key(record) is None
    assert ring.keyring.try_sealing_key("default") is None


async def test_an_outage_that_begins_after_the_end_of_grace_finds_no_grace() -> None:
    ring = Ring()
    record, _ = wrapped_by(ring.kms)
    await ring.seal()
    await ring.open(record)
    ring.clock.advance(2 * END)
    ring.kms.down = True
    with pytest.raises(KmsUnavailable):
        await ring.open(record)
    with pytest.raises(KmsUnavailable):
        await ring.seal()


async def test_the_first_wait_in_an_outage_is_a_single_call() -> None:
    """A caller whose key has grace does not sit out its own deadline."""
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    await ring.seal()
    await ring.open(record)
    ring.clock.advance(3 * LEASE)
    ring.kms.down = True
    before, begun = sum(ring.calls), ring.clock.monotonic()
    assert await ring.open(record) == key
    assert await ring.seal()
    assert (sum(ring.calls) - before, ring.clock.monotonic() - begun) == (1, 0.0)


async def test_grace_does_not_re_arm_itself() -> None:
    """Neither by renewals that fail, nor by callers, nor by pauses between."""
    ring = Ring()
    record, _ = await in_outage(ring)
    begun = ring.clock.monotonic()
    served: list[float] = []
    for pause in (1, 10, LEASE, 1, LEASE, 2 * LEASE, 500, 500, 500, 300, 200, 100, 50, 50, 50, LEASE, GRACE, END):
        ring.clock.advance(pause)
        for key in (ring.open(record, timeout=1.0), ring.seal(timeout=1.0)):
            try:
                await key
            except KmsUnavailable:
                continue
            served.append(ring.clock.monotonic() - begun)
    assert served
    assert max(served) < END


async def test_a_second_outage_without_a_success_between_has_no_second_grace() -> None:
    """The KMS comes back for others only: no call of this keyring finds it up."""
    ring = Ring()
    record, _ = await in_outage(ring)
    ring.clock.advance(END + 5)
    ring.kms.down = False  # nobody asks, for the renewals have ended
    before = ring.calls
    ring.clock.advance(LEASE)
    assert ring.calls == before
    ring.kms.down = True
    with pytest.raises(KmsUnavailable):
        await ring.open(record, timeout=1.0)
    with pytest.raises(KmsUnavailable):
        await ring.seal(timeout=1.0)


@pytest.mark.slow
async def test_a_success_re_arms() -> None:
    ring = Ring()
    record, key = await in_outage(ring)
    for _ in range(5):
        ring.advance(END - 60, step=5, use=lambda: ring.use(record))
        assert ring.keyring.try_opening_key(record) == key
        ring.kms.down = False
        ring.clock.advance(10)
        ring.kms.down = True
    ring.advance(END - 60, step=5, use=lambda: ring.use(record))
    assert ring.keyring.try_opening_key(record) == key
    ring.clock.advance(60)
    assert ring.keyring.try_opening_key(record) is None


async def test_grace_ends_by_the_wall_clock_when_the_machine_was_suspended() -> None:
    ring = Ring()
    record, key = await in_outage(ring)
    ring.clock.advance(LEASE)
    assert ring.keyring.try_opening_key(record) == key
    ring.clock.suspend(GRACE - 1)
    assert ring.keyring.try_opening_key(record) == key
    ring.clock.suspend(1.001)
    assert ring.keyring.try_opening_key(record) is None
    assert ring.keyring.try_sealing_key("default") is None
    with pytest.raises(KmsUnavailable):
        await ring.open(record, timeout=1.0)


async def test_without_grace_everything_ends_with_the_lease() -> None:
    ring = Ring(limits=dataclasses.replace(LIMITS, outage_grace=0.0))
    record, key = await in_outage(ring)
    ring.clock.advance(LEASE - 0.001)
    assert ring.keyring.try_opening_key(record) == key
    assert ring.keyring.try_sealing_key("default") is not None
    ring.clock.advance(0.001)
    assert ring.keyring.try_opening_key(record) is None
    assert ring.keyring.try_sealing_key("default") is None
    for call in (ring.open(record), ring.seal()):
        with pytest.raises(KmsUnavailable):
            await call
    ring.kms.down = False
    assert await ring.open(record) == key
    assert await ring.seal()


async def test_a_data_key_of_direct_mode_has_no_grace() -> None:
    ring = Ring(direct=True)
    record, key = wrapped_by(ring.kms, purpose=Purpose.DATA_KEY)
    wrapping, wrapping_key = wrapped_by(ring.kms)
    await ring.open(record)
    await ring.open(wrapping)
    ring.kms.down = True
    ring.clock.advance(LEASE - 0.001)
    assert ring.keyring.try_opening_key(record) == key
    ring.clock.advance(0.001)
    assert ring.keyring.try_opening_key(record) is None
    with pytest.raises(KmsUnavailable):
        await ring.open(record, timeout=1.0)
    assert await ring.open(wrapping) == wrapping_key  # which this reader has from writers of the other mode
    with pytest.raises(KmsUnavailable):
        await ring.open(record, timeout=1.0)


async def test_what_is_not_at_hand_is_not_to_be_had_in_an_outage_and_is_afterwards() -> None:
    ring = Ring()
    new, key = wrapped_by(ring.kms)
    await in_outage(ring)
    begun = ring.clock.monotonic()
    with pytest.raises(KmsUnavailable):
        await ring.open(new)
    assert ring.clock.monotonic() - begun <= ring.keyring.limits.timeout
    with pytest.raises(KmsUnavailable):
        await ring.seal("another namespace")
    ring.kms.down = False
    assert await ring.open(new) == key
    assert await ring.seal("another namespace")


async def test_who_waits_gets_the_key_as_soon_as_the_kms_is_back() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    ring.kms.down = True
    tasks = [
        asyncio.ensure_future(ring.keyring.opening_key(record, timeout=600)),
        asyncio.ensure_future(ring.keyring.sealing_key("default", timeout=600)),
    ]
    await settle()
    ring.clock.advance(500)
    await settle()
    assert not any(task.done() for task in tasks)
    ring.kms.down = False
    ring.clock.advance(5)
    opened, sealing = await asyncio.gather(*tasks)
    assert opened == key
    assert sealing


# --- denial -------------------------------------------------------------------------------------------------------


async def test_a_denial_ends_grace_at_once_and_leaves_no_key_in_memory() -> None:
    ring = Ring()
    record, key = await in_outage(ring)
    ring.advance(2 * LEASE, step=10, use=lambda: ring.use(record))
    assert ring.keyring.try_opening_key(record) == key
    assert ring.kept == 3  # the sealing key, kept for opening as well, and the record's
    ring.kms.down, ring.kms.denied = False, True
    ring.clock.advance(5.0)  # the renewal in the background, which an outage makes every few seconds
    assert ring.keyring.try_opening_key(record) is None
    assert ring.keyring.try_sealing_key("default") is None
    assert ring.kept == 0
    for call in (ring.open(record), ring.seal()):
        with pytest.raises(KeyDenied):
            await call
    ring.kms.down = True  # an outage after the denial brings nothing back
    ring.clock.advance(REFUSAL)
    for call in (ring.open(record, timeout=1.0), ring.seal(timeout=1.0)):
        with pytest.raises(KmsUnavailable):
            await call
    ring.kms.down = ring.kms.denied = False
    assert await ring.open(record) == key
    assert await ring.seal()


@pytest.mark.parametrize("asked", ["opening", "sealing"])
async def test_a_denial_that_a_caller_is_told_ends_everything_under_the_lease(asked: str) -> None:
    ring = Ring()
    wanted = dict(wrapped_by(ring.kms) for _ in range(20))
    new, _ = wrapped_by(ring.kms)
    await ring.seal()
    for record in wanted:
        await ring.open(record)
    ring.kms.before_call = lambda operation: setattr(ring.kms, "denied", operation == "unwrap")
    with pytest.raises(KeyDenied):
        await (ring.open(new) if asked == "opening" else ring.finish(sealing_again(ring)))
    assert ring.kept == 0 or asked == "sealing"  # there the leases have lapsed: nothing is left for a denial to end
    assert ring.keyring.try_sealing_key("default") is None
    assert all(ring.keyring.try_opening_key(record) is None for record in wanted)


async def sealing_again(ring: Ring) -> None:
    ring.clock.suspend(2 * MAX_AGE)
    await ring.keyring.sealing_key("default")


async def test_a_denied_key_works_again_when_it_is_enabled_again() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    for _ in range(3):
        assert await ring.open(record) == key
        sealing = await ring.seal()
        ring.kms.denied = True
        ring.clock.advance(LEASE)
        for call in (ring.open(record), ring.seal()):
            with pytest.raises(KeyDenied):
                await call
        ring.kms.denied = False
        calls = ring.kms.wraps
        with pytest.raises(KeyDenied):
            await ring.seal()  # the refusal is kept for a moment, so that many callers don't all ask
        assert ring.kms.wraps == calls
        ring.clock.advance(REFUSAL)
        assert (await ring.seal()).record.id != sealing.record.id


async def test_a_denial_of_another_version_leaves_this_one_alone() -> None:
    ring = Ring()
    old, _ = wrapped_by(ring.kms)
    await ring.open(old)
    ring.kms.rotate()
    new, key = wrapped_by(ring.kms)
    await ring.open(new)
    sealing = await ring.seal()
    del ring.kms._versions["1"]
    ring.advance(
        LEASE, step=10, use=lambda: (ring.keyring.try_opening_key(old), ring.keyring.try_sealing_key("default"))
    )
    with pytest.raises(KeyDenied):
        await ring.open(old)
    before = ring.calls
    assert await ring.open(new) == key
    assert await ring.seal() is sealing
    assert ring.calls == before


async def test_a_denial_to_encrypt_ends_sealing_and_not_opening() -> None:
    ring = Ring(limits=dataclasses.replace(LIMITS, max_payloads=10))
    record, key = wrapped_by(ring.kms)
    await ring.open(record)
    for _ in range(8):
        await ring.seal()

    def refuse(operation: str) -> None:
        if operation == "wrap":
            raise KeyDenied("no permission to encrypt")

    ring.kms.before_call = refuse
    ring.keyring.try_sealing_key("default")  # the ninth of ten starts to prepare the next key
    assert ring.keyring.try_sealing_key("default") is None
    with pytest.raises(KeyDenied):
        await ring.seal()
    assert await ring.open(record) == key
    ring.kms.before_call = lambda operation: None
    ring.clock.advance(REFUSAL)
    assert await ring.seal()


async def test_an_outage_of_one_recipient_does_not_hide_that_the_only_one_at_hand_was_denied() -> None:
    denied, away = FakeKms(), FakeKms()
    ring = Ring(KeySet(denied, (away,)))
    record, key = wrapped_by(denied, away)
    assert await ring.open(record) == key
    denied.denied = away.down = True
    ring.clock.advance(0.8 * LEASE)
    assert ring.keyring.try_opening_key(record) is None
    with pytest.raises(KmsUnavailable):
        await ring.open(record, timeout=1.0)
    away.down = False
    assert await ring.open(record) == key


# --- sealing past its limits --------------------------------------------------------------------------------------


async def test_a_key_in_use_seals_past_its_age_in_an_outage_without_a_wait() -> None:
    ring = Ring(limits=dataclasses.replace(LIMITS, max_age=1_000.0))
    first = await ring.seal()
    ring.kms.down = True
    missing: list[float] = []
    begun = ring.clock.monotonic()

    def use() -> None:
        if ring.keyring.try_sealing_key("default") is not first:
            missing.append(ring.clock.monotonic() - begun)

    ring.advance(END + 100, step=1, use=use)
    assert missing[0] == END


async def test_a_key_that_grew_old_while_idle_seals_in_an_outage() -> None:
    """Its lease had lapsed as well, so that nobody has noticed the outage before."""
    ring = Ring(limits=dataclasses.replace(LIMITS, max_age=1_000.0))
    await ring.finish(ring.keyring.prewarm("default"))
    ring.clock.advance(1_500.0)
    ring.kms.down = True
    begun = ring.clock.monotonic()
    assert await ring.seal()
    assert ring.clock.monotonic() == begun
    assert ring.kms.wraps == 2
    ring.clock.advance(END - 1_500.0 - 0.001)
    assert await ring.seal()
    ring.clock.advance(0.8 * LEASE + 0.002)  # it was renewed once more than it was used
    with pytest.raises(KmsUnavailable):
        await ring.seal()


async def test_a_key_seals_past_its_count_in_an_outage() -> None:
    ring = Ring(limits=dataclasses.replace(LIMITS, max_payloads=100))
    first = await ring.seal()
    ring.kms.down = True
    for _ in range(1_000):
        assert await ring.seal() is first
    ring.clock.advance(LEASE)
    for _ in range(1_000):
        assert await ring.seal() is first
    ring.clock.advance(GRACE)
    with pytest.raises(KmsUnavailable):
        await ring.seal()


async def test_payloads_past_the_count_do_not_each_ask_the_kms_that_is_down() -> None:
    ring = Ring(limits=dataclasses.replace(LIMITS, max_payloads=100))
    await ring.seal()
    ring.kms.down = True
    before = sum(ring.calls)
    for _ in range(60):
        for _ in range(1_000):
            assert ring.keyring.try_sealing_key("default") or await ring.seal()
        ring.clock.advance(1)
    assert sum(ring.calls) - before < 60


async def test_a_single_failure_does_not_lift_the_count() -> None:
    ring = Ring(limits=dataclasses.replace(LIMITS, max_payloads=100))
    sealed = Counter[bytes]()
    for _ in range(1_000):
        key = await ring.seal()
        sealed[key.record.id] += 1
        if sealed[key.record.id] == 85:
            ring.kms.fail_next(KmsUnavailable("a hiccup"))
    assert list(sealed.values()) == [100] * 10
    assert ring.events.of("wrap").count("KmsUnavailable") == 10


@pytest.mark.parametrize("limit", [{"max_age": 1_000.0}, {"max_payloads": 100}])
async def test_a_key_past_its_limits_is_replaced_soon_after_the_kms_is_back(limit: dict[str, float]) -> None:
    ring = Ring(limits=dataclasses.replace(LIMITS, **limit))  # type: ignore[arg-type]
    first = await ring.seal()
    ring.kms.down = True
    for _ in range(20):
        for _ in range(20):
            assert await ring.seal() is first
        ring.clock.advance(75)
    ring.kms.down = False
    ring.clock.advance(15)
    assert ring.keyring.try_sealing_key("default") not in (None, first)


async def test_a_key_past_its_limits_ends_with_a_denial() -> None:
    ring = Ring(limits=dataclasses.replace(LIMITS, max_age=1_000.0))
    first = await ring.seal()
    ring.kms.down = True
    ring.advance(1_500, step=10, use=lambda: ring.keyring.try_sealing_key("default"))
    assert ring.keyring.try_sealing_key("default") is first
    ring.kms.down, ring.kms.denied = False, True
    ring.clock.advance(5)
    assert ring.keyring.try_sealing_key("default") is None
    with pytest.raises(KeyDenied):
        await ring.seal()


# --- the load on a KMS that is down -------------------------------------------------------------------------------


async def test_in_an_outage_a_lease_is_renewed_every_few_seconds_and_then_no_more() -> None:
    ring = Ring(jitter=1.0)
    await ring.open(wrapped_by(ring.kms)[0])
    ring.kms.down = True
    before = sum(ring.calls)
    ring.clock.advance(END + 5)
    calls = sum(ring.calls) - before
    assert END / 5.0 * 0.9 <= calls <= END / 5.0 * 1.1
    assert ring.clock.next_due is None
    ring.clock.advance(10 * END)
    assert sum(ring.calls) - before == calls


async def test_many_keys_in_use_cost_no_more_calls_in_an_outage_than_one() -> None:
    ring = Ring()
    wanted = dict(wrapped_by(ring.kms) for _ in range(100))
    for record in wanted:
        await ring.open(record)
    ring.kms.down = True
    before = ring.kms.unwraps
    for _ in range(30):
        ring.clock.advance(60)
        for record, key in wanted.items():
            assert await ring.open(record) == key
    assert ring.kms.unwraps - before <= 1_800 / 2.5


async def test_leases_are_renewed_soon_after_an_outage_without_a_caller() -> None:
    ring = Ring()
    record, key = await in_outage(ring)
    ring.clock.advance(2 * LEASE)
    ring.kms.down = False
    ring.clock.advance(5)
    ring.kms.down = True
    ring.clock.advance(END - 10)
    assert await ring.open(record) == key


async def test_an_outage_in_which_calls_hang_makes_no_caller_wait_once_it_is_known() -> None:
    jobs = Jobs()
    ring = Ring(spawn=jobs)
    record, key = wrapped_by(ring.kms)
    waiting = [
        asyncio.ensure_future(ring.keyring.opening_key(record)),
        asyncio.ensure_future(ring.keyring.sealing_key("default")),
    ]
    await settle()
    jobs.run()
    await asyncio.gather(*waiting)
    ring.kms.down = True
    ring.kms.before_call = lambda operation: ring.clock.advance(7.0)  # its time-outs
    missing = 0
    for _ in range(100):
        ring.clock.advance(30)
        jobs.run()
        missing += ring.keyring.try_opening_key(record) != key
        missing += ring.keyring.try_sealing_key("default") is None
    assert missing == 0
