"""Which key seals: limits, the next one in time, checks before its first use, several recipients."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections import Counter
from collections.abc import Mapping

import pytest

from envelope_codec.envelope import Purpose, Recipient, build_record, open_envelope, parse, seal
from envelope_codec.errors import (
    EnvelopeError,
    InvalidCiphertext,
    KeyDenied,
    KeyNotConfigured,
    KmsUnavailable,
    MalformedEnvelope,
)
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.sealing_key import SealingKey, WrappingKey
from envelope_codec.kms import Unwrapped, WrappedSecret
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import (
    GRACE,
    LEASE,
    LIMITS,
    MAX_AGE,
    REFUSAL,
    Events,
    Jobs,
    Ring,
    settle,
    wrapped_by,
)


def few(payloads: int) -> Ring:
    return Ring(limits=dataclasses.replace(LIMITS, max_payloads=payloads))


async def test_one_key_seals_for_all_of_a_namespace_and_each_namespace_has_its_own() -> None:
    ring = Ring()
    first = await ring.seal("one")
    assert [await ring.seal("one") for _ in range(100)] == [first] * 100
    other = await ring.seal("two")
    assert other.key != first.key
    assert (first.record.namespace, other.record.namespace) == ("one", "two")
    assert ring.calls == (2, 2)


async def test_what_is_sealed_is_opened_by_another_keyring() -> None:
    ring = Ring()
    key = await ring.seal()
    wrapped, data = seal(b"inner", key.record, key.key)
    envelope = parse({**key.record.metadata, "encryption-data-key": wrapped or b""}, data)
    assert envelope is not None
    reader = Ring(ring.kms)
    assert open_envelope(envelope, await reader.open(envelope.record)) == b"inner"
    assert ring.kms.unwraps == 2  # the sealer's check, and the reader


# --- limits -------------------------------------------------------------------------------------------------------


async def test_a_key_is_replaced_at_max_age_on_the_second_where_it_could_not_be_prepared() -> None:
    ring = Ring(limits=dataclasses.replace(LIMITS, lease=10 * MAX_AGE))
    first = await ring.seal()
    ring.kms.before_call = refuse_wraps
    ring.clock.advance(MAX_AGE - 0.001)
    assert ring.keyring.try_sealing_key("default") is first
    ring.clock.advance(0.001)
    assert ring.keyring.try_sealing_key("default") is None
    ring.kms.before_call = lambda operation: None
    assert (await ring.seal()).record.id != first.record.id


def refuse_wraps(operation: str) -> None:
    """Neither an outage nor a denial."""
    if operation == "wrap":
        raise InvalidCiphertext("as if the KMS were broken")


@pytest.mark.parametrize("step", [MAX_AGE, 10 * MAX_AGE])
async def test_max_age_is_told_by_the_wall_clock_as_well(step: float) -> None:
    ring = Ring()
    first = await ring.seal()
    ring.clock.suspend(step)
    assert ring.keyring.try_sealing_key("default") is None
    second = await ring.seal()
    assert second.record.id != first.record.id
    assert second.record.created == int(ring.clock.time())


async def test_age_counts_from_before_the_first_call() -> None:
    ring = Ring(limits=dataclasses.replace(LIMITS, lease=10 * MAX_AGE))
    ring.kms.before_call = lambda operation: ring.clock.advance(5)
    begun = ring.clock.monotonic()
    key = await ring.seal()
    assert ring.clock.monotonic() == begun + 10
    assert isinstance(key, WrappingKey)
    assert key.due == (begun + MAX_AGE, key.record.created + MAX_AGE)


async def test_the_next_key_is_prepared_in_the_background_before_max_payloads_are_sealed() -> None:
    ring = few(100)
    sealed = Counter[bytes]({(await ring.seal()).record.id: 1})
    for _ in range(1_799):
        key = ring.keyring.try_sealing_key("default")
        assert key is not None
        sealed[key.record.id] += 1
    assert list(sealed.values()) == [90] * 20
    assert ring.kms.wraps == 21


async def test_a_key_seals_exactly_max_payloads_where_the_next_key_is_late() -> None:
    jobs = Jobs()
    ring = Ring(spawn=jobs, limits=dataclasses.replace(LIMITS, max_payloads=10))
    waiting = [asyncio.ensure_future(ring.keyring.sealing_key("default")) for _ in range(25)]
    sealed = Counter[bytes]()
    while not all(task.done() for task in waiting):
        await settle()
        sealed.update(key.record.id for key in ready(waiting))
        jobs.run()
    assert sum(1 for _ in waiting) == 25
    assert sorted(Counter(task.result().record.id for task in waiting).values()) == [5, 10, 10]
    assert ring.kms.wraps <= 4


def ready(tasks: list[asyncio.Task[SealingKey]]) -> list[SealingKey]:
    return [task.result() for task in tasks if task.done()]


async def test_one_payload_a_key_works_as_well() -> None:
    ring = few(1)
    ids = [(await ring.seal()).record.id for _ in range(20)]
    assert len(set(ids)) == 20


async def test_the_next_key_is_prepared_in_the_background_before_the_age_is_reached() -> None:
    ring = Ring()
    keys = {await ring.seal()}
    missing = 0

    def use() -> None:
        nonlocal missing
        key = ring.keyring.try_sealing_key("default")
        if key is None:
            missing += 1
        else:
            keys.add(key)

    ring.advance(3 * MAX_AGE, step=60, use=use)
    assert missing == 0
    assert len(keys) == 4  # at 0.9, 1.8 and 2.7 times the age
    assert ring.kms.wraps == 4


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 0.9), (0.5, 0.85), (1.0, 0.8)])
async def test_keys_of_equal_load_are_not_replaced_at_the_same_time_and_none_seals_more_than_it_may(
    jitter: float, share: float
) -> None:
    jobs = Jobs()
    ring = Ring(spawn=jobs, jitter=jitter, limits=dataclasses.replace(LIMITS, max_payloads=100))
    key = await ring.seal()
    sealed = 1
    while not jobs:
        assert ring.keyring.try_sealing_key("default") is key
        sealed += 1
    assert sealed == pytest.approx(share * 100)
    while ring.keyring.try_sealing_key("default") is key:  # the next key is late
        sealed += 1
    assert sealed == 100


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 0.9), (1.0, 0.8)])
async def test_preparing_is_jittered(jitter: float, share: float) -> None:
    ring = Ring(jitter=jitter)
    await ring.seal()
    await ring.seal()
    ring.clock.advance(share * MAX_AGE - 1)
    assert ring.kms.wraps == 1
    ring.clock.advance(2)
    assert ring.kms.wraps == 2


async def test_a_key_that_sealed_nothing_is_not_replaced() -> None:
    ring = Ring()
    await ring.finish(ring.keyring.prewarm("default"))
    ring.clock.advance(10 * MAX_AGE)
    assert ring.kms.wraps == 1
    assert ring.clock.next_due is None


async def test_a_key_that_is_no_longer_used_is_replaced_once_at_most() -> None:
    ring = Ring()
    await ring.seal()
    await ring.seal()
    ring.clock.advance(100 * MAX_AGE)
    assert ring.kms.wraps <= 2
    assert ring.clock.next_due is None


async def test_the_old_key_seals_while_the_next_is_on_its_way() -> None:
    jobs = Jobs()
    ring = Ring(spawn=jobs, limits=dataclasses.replace(LIMITS, max_payloads=100))
    task = asyncio.ensure_future(ring.keyring.sealing_key("default"))
    await settle()
    jobs.run()
    first = await task
    for _ in range(99):
        assert ring.keyring.try_sealing_key("default") is first
    assert len(jobs) == 1
    jobs.run()
    second = ring.keyring.try_sealing_key("default")
    assert second not in (None, first)
    assert ring.kms.wraps == 2


async def test_a_kms_that_answers_amiss_costs_no_key_that_is_good() -> None:
    """It is asked for the next in its time, and not once for each payload."""
    ring = few(1_000)
    first = await ring.seal()
    ring.kms.before_call = refuse_wraps
    for _ in range(999):
        assert ring.keyring.try_sealing_key("default") is first
    assert ring.kms.wraps == 2
    assert ring.keyring.try_sealing_key("default") is None
    with pytest.raises(InvalidCiphertext):
        await ring.seal()
    ring.kms.before_call = lambda operation: None
    assert (await ring.seal()).record.id != first.record.id


async def test_a_kms_that_answers_amiss_is_asked_again_soon() -> None:
    ring = few(1_000)
    first = await ring.seal()
    ring.kms.before_call = refuse_wraps
    for _ in range(950):
        ring.keyring.try_sealing_key("default")
    ring.kms.before_call = lambda operation: None
    ring.clock.advance(11)
    assert ring.keyring.try_sealing_key("default") not in (None, first)


# --- the check before the first use -------------------------------------------------------------------------------


class Garbling(FakeKms):
    """Wraps what it can't unwrap any more."""

    def __init__(self, *, garbles: bool = True) -> None:
        super().__init__()
        self.garbles = garbles

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        wrapped = super().wrap(secret, context)
        if not self.garbles:
            return wrapped
        other = bytes([wrapped.ciphertext[-1] ^ 1])
        return WrappedSecret(wrapped.key_id, wrapped.key_version, wrapped.ciphertext[:-1] + other)


class Forgetful(FakeKms):
    """Unwraps to another secret than it wrapped."""

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        super().unwrap(wrapped, context)
        return Unwrapped(os.urandom(32), "1")


@pytest.mark.parametrize("kms", [Garbling(), Forgetful()], ids=["garbling", "forgetful"])
async def test_a_wrap_that_can_not_be_opened_again_never_seals(kms: FakeKms) -> None:
    ring = Ring(kms)
    with pytest.raises(InvalidCiphertext):
        await ring.seal()
    assert ring.keyring.try_sealing_key("default") is None
    assert (kms.wraps, kms.unwraps) == (1, 1)


async def test_a_recipient_that_can_not_be_opened_again_is_left_out() -> None:
    bad, good = Garbling(), FakeKms()
    ring = Ring(KeySet(bad, (good,)))
    key = await ring.seal()
    assert [recipient.key_id for recipient in key.record.recipients] == [good.key_id]
    assert ring.events.of("unwrap") == ["InvalidCiphertext", "ok"]
    with pytest.raises(InvalidCiphertext):
        await Ring(KeySet(bad, (good,), min_recipients=2)).seal()


async def test_a_role_that_may_only_encrypt_never_unwraps() -> None:
    ring = Ring(verify_wraps=False)
    keys = {await ring.seal()}
    ring.advance(2 * MAX_AGE, step=60, use=lambda: keys.add(ring.keyring.try_sealing_key("default")))  # type: ignore[arg-type]
    assert None not in keys
    assert len(keys) == 3
    assert ring.kms.unwraps == 0
    # One wrap a lease, which shows that the role may still encrypt.
    assert 2 * MAX_AGE / LEASE <= ring.kms.wraps <= 2 * MAX_AGE / LEASE * 1.4 + 6


async def test_a_role_that_may_only_encrypt_is_noticed_to_be_revoked_within_a_lease() -> None:
    ring = Ring(verify_wraps=False)
    await ring.seal()
    ring.kms.denied = True
    used: list[float] = []

    def use() -> None:
        if ring.keyring.try_sealing_key("default") is not None:
            used.append(ring.clock.monotonic())

    begun = ring.clock.monotonic()
    ring.advance(10 * LEASE, step=1, use=use)
    assert used[-1] < begun + LEASE
    with pytest.raises(KeyDenied):
        await ring.seal()
    ring.kms.denied = False
    ring.clock.advance(REFUSAL)
    assert await ring.seal()


async def test_a_role_that_may_only_encrypt_has_grace_in_an_outage() -> None:
    ring = Ring(verify_wraps=False)
    first = await ring.seal()
    ring.kms.down = True
    ring.clock.advance(2 * LEASE)
    assert await ring.seal() is first
    ring.clock.advance(GRACE + 2 * LEASE)
    with pytest.raises(KmsUnavailable):
        await ring.seal()


# --- what sealing tells opening -----------------------------------------------------------------------------------


async def test_a_process_opens_what_it_sealed_by_the_unwrap_that_checked_the_new_record() -> None:
    ring = Ring()
    key = await ring.seal()
    assert ring.calls == (1, 1)
    assert ring.use(key.record) == [key.key]
    assert ring.calls == (1, 1)


async def test_each_new_key_opens_at_once_the_next_one_as_the_first() -> None:
    ring = few(10)
    keys = {id(key): key for key in [await ring.seal() for _ in range(40)]}
    assert len(keys) > 3
    assert ring.use(*(key.record for key in keys.values())) == [key.key for key in keys.values()]
    assert ring.calls == (len(keys), len(keys))


async def test_a_record_that_was_not_checked_is_opened_as_any_other() -> None:
    ring = Ring(verify_wraps=False)
    key = await ring.seal()
    assert ring.use(key.record) == [None]
    ring.kms.denied = True
    with pytest.raises(KeyDenied):
        await ring.open(key.record)


async def test_a_data_key_of_direct_mode_is_opened_as_any_other() -> None:
    ring = Ring(direct=True)
    key = await ring.seal()
    assert ring.use(key.record) == [None]
    assert await ring.open(key.record) == key.key
    assert ring.calls == (1, 1)


async def test_what_another_master_key_has_checked_is_opened_by_the_one_that_is_configured_for_opening() -> None:
    """Two objects of one master key, as two roles have them: what the one is allowed, the other need not be."""
    seals = FakeKms("fakekms://one")
    opens = FakeKms("fakekms://one")
    opens._versions = seals._versions
    ring = Ring(seals, opening_key_sets=lambda namespace: KeySet(opens))
    key = await ring.seal()
    assert ring.use(key.record) == [None]
    opens.denied = True
    with pytest.raises(KeyDenied):
        await ring.open(key.record)


async def test_only_the_recipients_that_are_configured_for_opening_vouch() -> None:
    first, backup = FakeKms("fakekms://first"), FakeKms("fakekms://backup")
    twin = FakeKms("fakekms://first")
    twin._versions = first._versions
    ring = Ring(
        KeySet(first, (backup,), min_recipients=2), opening_key_sets=lambda namespace: KeySet(backup, (), (twin,))
    )
    key = await ring.seal()
    assert ring.use(key.record) == [key.key]
    backup.denied = twin.denied = True
    ring.advance(1.01 * LEASE, step=LEASE / 10, use=lambda: ring.use(key.record))  # the first still vouches for sealing
    assert ring.use(key.record) == [None]
    assert await ring.seal() is key


async def test_a_lease_of_another_length_than_opening_has_does_not_vouch_for_opening() -> None:
    kms = FakeKms()
    resolved = KeySet(kms, lease=2 * LEASE)
    ring = Ring(kms)
    key = await ring.finish(ring.keyring.sealing_key(("default", resolved)))
    assert ring.use(key.record) == [None]
    usual = Ring(kms, opening_key_sets=lambda namespace: KeySet(kms, lease=LEASE))
    own = await usual.seal()
    assert usual.use(own.record) == [own.key]


async def test_a_denial_ends_what_sealing_has_told_opening() -> None:
    ring = Ring()
    key = await ring.seal()
    ring.kms.denied = True
    ring.advance(LEASE, step=LEASE / 10, use=lambda: ring.use(key.record))
    assert ring.use(key.record) == [None]
    assert ring.kept == 0


async def test_a_recipient_that_is_denied_while_the_others_are_asked_does_not_vouch_for_opening() -> None:
    first, second = FakeKms("fakekms://first"), FakeKms("fakekms://second")
    jobs = Jobs()
    ring = Ring(KeySet(first, (second,), min_recipients=2), spawn=jobs)
    old = await ring.seal()
    denied: list[bool] = []

    def deny_first(operation: str) -> None:
        if operation == "unwrap" and not denied:
            denied.append(True)
            first.denied = True
            ring.keyring._leases.renew_now(old.leases[:1])  # type: ignore[attr-defined]

    second.before_call = deny_first
    renewal = asyncio.ensure_future(ring.keyring.renew())
    await ring.finish(renewal)
    new = await ring.seal()
    assert denied
    assert new is not old
    assert ring.use(new.record) == [new.key]
    second.denied = True
    ring.advance(LEASE, step=LEASE / 10, use=lambda: (ring.use(new.record), jobs.run()))
    assert ring.use(new.record) == [None]


async def test_what_sealing_told_is_kept_for_the_cache_s_time_to_live_and_in_its_room() -> None:
    ring = Ring(limits=dataclasses.replace(LIMITS, cache_ttl=1_000.0, cache_size=3))
    keys = [await ring.seal(f"namespace-{number}") for number in range(5)]
    assert ring.calls == (5, 5)
    for key in keys[2:]:
        assert await ring.open(key.record) == key.key
    assert ring.calls == (5, 5)
    assert ring.use(keys[0].record, keys[1].record) == [None, None]
    ring.advance(1_000.0, step=100.0, use=lambda: ring.use(keys[-1].record))
    assert ring.use(keys[-1].record) == [None]
    assert await ring.open(keys[-1].record) == keys[-1].key


async def test_another_record_of_the_same_id_gains_nothing_by_what_sealing_told() -> None:
    ring = Ring()
    key = await ring.seal()
    forged = build_record(key.record.head, key.record.id, [Recipient("fakekms://other", "1", b"x" * 60)])
    assert ring.use(forged) == [None]
    with pytest.raises(KeyNotConfigured):
        await ring.open(forged)


# --- several recipients -------------------------------------------------------------------------------------------


async def test_every_backup_key_wraps_and_each_of_them_opens() -> None:
    masters = [FakeKms() for _ in range(8)]
    ring = Ring(KeySet(masters[0], tuple(masters[1:]), min_recipients=8))
    key = await ring.seal()
    assert [recipient.key_id for recipient in key.record.recipients] == [master.key_id for master in masters]
    for master in masters:
        assert await Ring(master).open(key.record) == key.key


async def test_decrypt_keys_do_not_wrap() -> None:
    old = FakeKms()
    ring = Ring(KeySet(FakeKms(), decrypt_keys=(old,)))
    assert len((await ring.seal()).record.recipients) == 1
    assert old.wraps == 0


@pytest.mark.parametrize("fault", ["down", "denied"])
@pytest.mark.parametrize("number", [0, 1, 2])
async def test_where_one_master_key_fails_the_others_suffice(fault: str, number: int) -> None:
    masters = [FakeKms(), FakeKms(), FakeKms()]
    setattr(masters[number], fault, True)
    ring = Ring(KeySet(masters[0], (masters[1], masters[2]), min_recipients=2))
    key = await ring.seal()
    assert [r.key_id for r in key.record.recipients] == [m.key_id for m in masters if m is not masters[number]]
    setattr(masters[(number + 1) % 3], fault, True)
    with pytest.raises(KmsUnavailable if fault == "down" else KeyDenied):
        await Ring(KeySet(masters[0], (masters[1], masters[2]), min_recipients=2)).seal()


async def test_a_denial_is_told_to_callers_for_a_while_without_another_call() -> None:
    ring = Ring()
    ring.kms.denied = True
    errors = []
    for _ in range(10):
        with pytest.raises(KeyDenied) as caught:
            await ring.seal()
        errors.append(caught.value)
    assert ring.calls == (1, 0)
    assert len({id(error) for error in errors}) == 10
    with pytest.raises(KeyDenied):
        await ring.seal("another namespace")
    assert ring.calls == (2, 0)
    ring.clock.advance(REFUSAL)
    with pytest.raises(KeyDenied):
        await ring.seal()
    assert ring.calls == (3, 0)


def lacking(payloads: int = 2**20) -> tuple[Ring, FakeKms, FakeKms]:
    """A ring whose backup key is out of reach."""
    first, backup = FakeKms(), FakeKms()
    backup.down = True
    return Ring(KeySet(first, (backup,)), limits=dataclasses.replace(LIMITS, max_payloads=payloads)), first, backup


async def test_a_key_that_lacks_a_recipient_is_replaced_soon_after_that_can_be_had() -> None:
    ring, _, backup = lacking()
    key = await ring.seal()
    ring.advance(600, step=10, use=lambda: ring.keyring.try_sealing_key("default"))
    assert ring.keyring.try_sealing_key("default") is key  # not one more record a minute for every reader
    backup.down = False
    ring.clock.advance(300)  # the fourth trial comes after a quarter of an hour in all
    assert len((await ring.seal()).record.recipients) == 2


async def test_a_key_that_lacks_a_recipient_and_was_not_used_is_replaced_when_it_is() -> None:
    ring, _, backup = lacking()
    await ring.finish(ring.keyring.prewarm("default"))
    ring.clock.advance(600)
    backup.down = False
    assert len((await ring.seal()).record.recipients) == 1
    assert len((await ring.seal()).record.recipients) == 2


async def test_a_key_that_lacks_a_recipient_is_not_asked_for_again_by_each_payload() -> None:
    ring, first, _ = lacking(1_000)
    keys = {(await ring.seal()) for _ in range(5_000)}
    assert len(keys) == 6
    assert first.wraps == 6


async def test_a_key_past_its_count_is_replaced_by_one_that_lacks_a_recipient() -> None:
    ring, first, backup = lacking(100)
    backup.down = False
    key = await ring.seal()
    first.down = backup.down = True
    for _ in range(150):
        assert await ring.seal() is key
    first.down = False
    ring.clock.advance(60)
    assert ring.keyring.try_sealing_key("default") not in (None, key)


async def test_a_key_that_a_suspend_made_too_old_is_replaced_by_one_that_lacks_a_recipient() -> None:
    first, backup = FakeKms(), FakeKms()
    ring = Ring(KeySet(first, (backup,)), limits=dataclasses.replace(LIMITS, max_age=1_000.0))
    key = await ring.seal()
    ring.clock.suspend(1_200)
    first.down = backup.down = True
    assert await ring.seal() is key
    assert await ring.seal() is key
    first.down = False
    ring.clock.advance(15)
    assert ring.keyring.try_sealing_key("default") not in (None, key)


async def test_the_next_key_is_prepared_in_time_although_a_recipient_is_lacking_and_all_were_once() -> None:
    ring, first, _ = lacking(1_000)
    keys = {await ring.seal()}
    first.down = True
    await ring.seal()
    ring.clock.advance(61)  # asks for the lacking one, in vain
    first.down = False
    ring.clock.advance(11)  # and again
    for _ in range(1_500):
        keys.add(ring.keyring.try_sealing_key("default"))  # type: ignore[arg-type]
    assert None not in keys
    assert len(keys) == 2


@pytest.mark.parametrize("from_the_start", [False, True])
async def test_no_caller_waits_for_the_next_key_while_a_recipient_is_lacking(from_the_start: bool) -> None:
    ring, _, backup = lacking()
    backup.down = from_the_start
    keys = {await ring.seal()}
    backup.down = True
    ring.advance(2.5 * MAX_AGE, step=30, use=lambda: keys.add(ring.keyring.try_sealing_key("default")))  # type: ignore[arg-type]
    assert None not in keys
    assert len(keys) == 3


async def test_asking_for_a_lacking_recipient_counts_no_payload() -> None:
    ring, _, _ = lacking(40)
    keys = [await ring.seal()]
    for _ in range(30):
        ring.clock.advance(61)
        keys.append(await ring.seal())
    assert len(set(keys)) == 1


async def test_an_idle_key_is_replaced_in_the_background_once_it_is_used_late() -> None:
    ring = Ring()
    await ring.finish(ring.keyring.prewarm("default"))
    ring.clock.advance(0.95 * MAX_AGE)
    assert ring.kms.wraps == 1
    await ring.seal()
    assert ring.kms.wraps == 2
    ring.advance(0.2 * MAX_AGE, step=60, use=lambda: None)
    assert await ring.seal()
    assert ring.kms.wraps == 2


async def test_an_outage_of_one_master_key_wins_over_the_denial_of_another() -> None:
    denied, down = FakeKms(), FakeKms()
    denied.denied = down.down = True
    ring = Ring(KeySet(denied, (down,)))
    with pytest.raises(KmsUnavailable) as caught:
        await ring.seal()
    assert caught.value.key_id == down.key_id
    down.down = False
    down.denied = True
    with pytest.raises(KeyDenied):
        await ring.seal()
    down.denied = False
    ring.clock.advance(REFUSAL)
    assert [r.key_id for r in (await ring.seal()).record.recipients] == [down.key_id]


async def test_a_master_key_that_is_configured_twice_counts_once() -> None:
    kms = FakeKms()
    twin = FakeKms(kms.key_id)
    twin._versions = kms._versions
    ring = Ring(KeySet(kms, (twin,)))
    assert len((await ring.seal()).record.recipients) == 1
    assert twin.unwraps == 0
    with pytest.raises(EnvelopeError):
        await Ring(KeySet(kms, (twin,), min_recipients=2)).seal(timeout=1)


async def test_a_key_goes_on_while_any_of_its_recipients_vouches() -> None:
    first, second = FakeKms(), FakeKms()
    ring = Ring(KeySet(first, (second,)))
    key = await ring.seal()
    first.denied = True
    ring.advance(5 * LEASE, step=10, use=lambda: ring.keyring.try_sealing_key("default"))
    assert await ring.seal() is key
    second.denied = True
    ring.advance(LEASE, step=10, use=lambda: ring.keyring.try_sealing_key("default"))
    assert ring.keyring.try_sealing_key("default") is None
    with pytest.raises(KeyDenied):
        await ring.seal()
    assert ring.kept == 0


async def test_a_key_that_was_denied_while_it_was_being_made_is_not_kept() -> None:
    """The first master key has vouched for it; the denial comes while the second is asked."""
    first, second = FakeKms(), FakeKms()
    jobs = Jobs()
    ring = Ring(KeySet(first, (second,)), spawn=jobs)
    other, _ = wrapped_by(first)

    def meanwhile(operation: str) -> None:
        first.denied = True
        with pytest.raises(KeyDenied):
            ring.keyring._opening._ask(other, b"another")
        raise KmsUnavailable("no answer")

    second.before_call = meanwhile
    task = asyncio.ensure_future(ring.keyring.sealing_key("default"))
    await settle()
    jobs.run_one()
    assert ring.events.of("wrap") == ["ok", "KmsUnavailable"]
    jobs.run()  # the denial has brought forward the renewal of the lease that the new key has
    assert ring.kept == 0
    second.before_call = first.before_call
    second.denied = True
    with pytest.raises(KeyDenied):
        await ring.finish(task)


async def test_no_master_key_for_a_namespace_is_told_at_once() -> None:
    ring = Ring({"known": KeySet(FakeKms())})
    with pytest.raises(KeyNotConfigured) as caught:
        await ring.seal("unknown")
    assert caught.value.operation == "seal"
    assert await ring.seal("known")
    with pytest.raises(KeyNotConfigured):
        await ring.seal("unknown")


async def test_further_context_is_bound() -> None:
    kms = FakeKms()
    seen: list[Mapping[str, str]] = []

    class Watched(FakeKms):
        def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
            seen.append(dict(context))
            return super().wrap(secret, context)

    kms = Watched()
    key = await Ring(KeySet(kms, context={"tenant": "t1"})).seal("space")
    assert seen == [
        {
            "tenant": "t1",
            "temporal-namespace": "space",
            "envelope-codec:purpose": "wrapping-key",
            "envelope-codec:id": key.record.id.hex(),
        }
    ]
    assert key.record.kms_context == seen[0]


# --- direct mode --------------------------------------------------------------------------------------------------


async def test_in_direct_mode_each_payload_costs_one_wrap_and_nothing_is_kept() -> None:
    ring = Ring(direct=True)
    keys = [await ring.seal() for _ in range(20)]
    assert len({key.key for key in keys}) == 20
    assert ring.calls == (20, 0)
    assert all(key.record.purpose is Purpose.DATA_KEY for key in keys)
    assert ring.keyring.try_sealing_key("default") is None
    assert (ring.kept, ring.clock.next_due) == (0, None)
    await ring.keyring.prewarm("default")
    assert ring.calls == (20, 0)


async def test_in_direct_mode_a_denial_and_an_outage_are_told_at_once_and_at_the_deadline() -> None:
    ring = Ring(direct=True)
    await ring.seal()
    ring.kms.denied = True
    with pytest.raises(KeyDenied):
        await ring.seal()
    ring.kms.denied, ring.kms.down = False, True
    begun = ring.clock.monotonic()
    with pytest.raises(KmsUnavailable):
        await ring.seal(timeout=7)
    assert ring.clock.monotonic() - begun <= 7
    ring.kms.down = False
    assert await ring.seal()


async def test_in_direct_mode_an_outage_is_sat_out() -> None:
    ring = Ring(direct=True)
    ring.kms.fail_next(KmsUnavailable("1"), KmsUnavailable("2"))
    assert await ring.seal()
    assert ring.calls == (3, 0)


async def test_in_direct_mode_a_caller_that_has_gone_is_not_retried_for() -> None:
    ring = Ring(direct=True)
    ring.kms.down = True
    task = asyncio.ensure_future(ring.keyring.sealing_key("default", timeout=3_600))
    await settle()
    task.cancel()
    await settle()
    ring.clock.advance(3_600)
    assert ring.kms.wraps <= 2


# --- prewarm ------------------------------------------------------------------------------------------------------


async def test_prewarming_gets_the_key_and_counts_no_payload() -> None:
    ring = few(1)
    for _ in range(3):
        await ring.finish(ring.keyring.prewarm("default"))
    assert ring.calls == (1, 1)
    assert ring.keyring.try_sealing_key("default") is not None


@pytest.mark.slow
async def test_prewarming_waits_for_the_kms_for_as_long_as_it_takes() -> None:
    ring = Ring()
    ring.kms.down = True
    task = asyncio.ensure_future(ring.keyring.prewarm("default"))
    await settle()
    ring.clock.advance(50 * 3_600)
    await settle()
    assert not task.done()
    ring.kms.down = False
    ring.clock.advance(6)
    await task
    assert ring.keyring.try_sealing_key("default") is not None


async def test_prewarming_with_a_deadline_and_under_a_denial_ends() -> None:
    ring = Ring()
    ring.kms.down = True
    with pytest.raises(KmsUnavailable):
        await ring.finish(ring.keyring.prewarm("default", timeout=5))
    ring.kms.down, ring.kms.denied = False, True
    with pytest.raises(KeyDenied):
        await ring.finish(ring.keyring.prewarm("default"))


# --- what a provider may return amiss -----------------------------------------------------------------------------


class Returning(FakeKms):
    """Returns something else than it should."""

    def __init__(self, wrapped: object) -> None:
        super().__init__()
        self.wrapped = wrapped

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        super().wrap(secret, context)
        return self.wrapped  # type: ignore[return-value]


AMISS = {
    "nothing": None,
    "bytes": b"x",
    "no key id": WrappedSecret("", "", b"x"),
    "a key id of bytes": WrappedSecret(b"k", "", b"x"),  # type: ignore[arg-type]
    "a key id too long": WrappedSecret("k" * 513, "", b"x"),
    "a key id longer than its length field": WrappedSecret("k" * 65_536, "", b"x"),
    "a key id that is no UTF-8": WrappedSecret("\ud800", "", b"x"),
    "a key version too long": WrappedSecret("k", "v" * 257, b"x"),
    "a key version that is none": WrappedSecret("k", None, b"x"),  # type: ignore[arg-type]
    "a ciphertext too long": WrappedSecret("k", "", bytes(4_097)),
    "a ciphertext longer than its length field": WrappedSecret("k", "", bytes(65_536)),
    "an empty ciphertext": WrappedSecret("k", "", b""),
    "a ciphertext of text": WrappedSecret("k", "", "x"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("direct", [False, True], ids=["wrapping", "direct"])
@pytest.mark.parametrize("amiss", AMISS.values(), ids=AMISS)
async def test_whatever_a_provider_returns_the_error_is_ours_and_others_are_asked(amiss: object, direct: bool) -> None:
    bad, good = Returning(amiss), FakeKms()
    ring = Ring(bad, direct=direct)
    with pytest.raises((MalformedEnvelope, KmsUnavailable)) as caught:
        await ring.seal(timeout=3)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert all(event.key_id == bad.key_id and event.outcome != "ok" for event in ring.events)
    assert not ring.keyring._calls._flying
    assert ring.clock.next_due is None
    key = await Ring(KeySet(bad, (good,)), direct=direct).seal()
    assert [recipient.key_id for recipient in key.record.recipients] == [good.key_id]


async def test_recipients_that_are_too_much_together_are_told() -> None:
    class Long(FakeKms):
        def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
            wrapped = super().wrap(secret, context)
            return WrappedSecret(wrapped.key_id, wrapped.key_version, wrapped.ciphertext + bytes(4_000))

        def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
            return super().unwrap(WrappedSecret(wrapped.key_id, "1", wrapped.ciphertext[:-4_000]), context)

    with pytest.raises(MalformedEnvelope):
        await Ring(KeySet(Long(), tuple(Long() for _ in range(4)))).seal(timeout=3)
    assert await Ring(KeySet(Long(), (Long(),))).seal()


async def test_an_observer_that_is_empty_or_false_is_an_observer() -> None:
    events = Events()
    assert not events
    ring = Ring(observer=events)
    await ring.seal()
    assert events.of("wrap") == ["ok"]


async def test_a_record_of_another_writer_plays_no_part_in_sealing() -> None:
    ring = Ring()
    record, _ = wrapped_by(ring.kms)
    await ring.open(record)
    key = await ring.seal()
    assert key.record.id != record.id
