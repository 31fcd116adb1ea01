"""The lease rule, line by line: a lease vouches only for what its witness proves. Then those who would bend it."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import NAME_DATA_KEY, Purpose, Recipient, Record, build_record, seal
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.lease_name import LeaseName
from envelope_codec.kms import Unwrapped, WrappedSecret, unwrap_with
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import (
    GRACE,
    LEASE,
    LIMITS,
    REFUSAL,
    Jobs,
    Policy,
    Ring,
    Untold,
    corrupted,
    settle,
    wrapped_by,
)

TENANT_A, TENANT_B = {"tenant": "a"}, {"tenant": "b"}


def names(ring: Ring) -> set[LeaseName]:
    """The names of the leases that there are."""
    return set(ring.keyring._leases.register.known)


def lease_of(ring: Ring, record: Record) -> Lease:
    [lease] = ring.kept_key(record).leases
    return lease


def relabelled(record: Record, version: str) -> Record:
    """The record with another key version in its recipients, which needs no key to make."""
    recipients = [Recipient(one.key_id, version, one.ciphertext) for one in record.recipients]
    return build_record(record.head, record.id, recipients)


def last_served(ring: Ring, record: Record, *others: Record) -> float:
    """For how long from now a key is at hand, in seconds, while it and others are in use. It has to end."""
    last = 0.0
    for second in range(0, int(10 * LEASE), 10):
        if ring.use(record, *others)[0] is not None:
            last = float(second)
        ring.clock.advance(10)
    assert last < 9 * LEASE
    return last


# --- 1: unwrap returns the secret and the version that the KMS's success proves --------------------------------------


def test_1_a_success_proves_a_version_or_none() -> None:
    told, untold = FakeKms(), Untold()
    told.rotate()
    assert unwrap_with(told, told.wrap(bytes(32), TENANT_A), TENANT_A) == Unwrapped(bytes(32), "2")
    assert unwrap_with(untold, untold.wrap(bytes(32), TENANT_A), TENANT_A) == Unwrapped(bytes(32), None)
    assert "secret" not in repr(Unwrapped(b"secret", "1"))


def test_1_bare_bytes_prove_no_version_and_one_line_in_the_log_says_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Old(FakeKms):
        def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> bytes:  # type: ignore[override]
            return super().unwrap(wrapped, context).secret

    kms: Any = Old()
    caplog.set_level(logging.WARNING, "envelope_codec")
    for _ in range(2):
        assert unwrap_with(kms, kms.wrap(bytes(32), TENANT_A), TENANT_A) == Unwrapped(bytes(32), None)
    assert [line for line in caplog.messages if "return Unwrapped(secret, version)" in line] == caplog.messages[:1]


def test_1_anything_else_is_a_provider_s_bug_which_names_the_fix() -> None:
    class Broken(FakeKms):
        def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> tuple[bytes, str]:  # type: ignore[override]
            return bytes(32), "1"

    kms: Any = Broken()
    with pytest.raises(TypeError, match=r"return Unwrapped\(secret, version\)"):
        unwrap_with(kms, kms.wrap(bytes(32), TENANT_A), TENANT_A)


# --- 2: operation, master key as asked, version, and the KMS context without the record's id -------------------------


async def test_2_each_version_context_purpose_and_master_key_has_a_lease_of_its_own() -> None:
    kms, twin = FakeKms("key"), FakeKms("key")
    twin._versions = kms._versions
    sets = {"n": KeySet(kms), "m": KeySet(twin)}
    ring = Ring(sets)
    same = [wrapped_by(kms, namespace="n", context=TENANT_A)[0] for _ in range(3)]
    for record in same:
        await ring.open(record)
    assert len(names(ring)) == 1
    kms.rotate()
    others = [
        wrapped_by(kms, namespace="n", context=TENANT_A)[0],
        wrapped_by(kms, namespace="n", context=TENANT_B)[0],
        wrapped_by(kms, namespace="m", context=TENANT_A)[0],
        wrapped_by(kms, namespace="n", context=TENANT_A, purpose=Purpose.DATA_KEY)[0],
        wrapped_by(kms, namespace="n", context=TENANT_A, purpose=Purpose.SHARED_WRAPPING_KEY)[0],
    ]
    for record in others:
        await ring.open(record)
    assert len(names(ring)) == 1 + len(others)
    for name in names(ring):
        assert name.request.operation == "unwrap"
        assert name.record_id == b""
        assert "envelope-codec:id" not in dict(name.request.context)


async def test_2_another_object_for_the_same_master_key_may_have_other_credentials() -> None:
    mine, theirs = FakeKms("key"), FakeKms("key")
    theirs._versions = mine._versions
    ring = Ring(KeySet(mine))
    record, _ = wrapped_by(mine)
    await ring.open(record)
    ring.keyring._leases.unwrap(record, record.recipients[0], theirs)[1].used = True
    mine.denied = True
    assert last_served(ring, record) <= LEASE


async def test_2_where_no_version_is_proved_a_lease_is_of_one_record() -> None:
    kms = Untold()
    ring = Ring(kms)
    one, other = wrapped_by(kms)[0], wrapped_by(kms)[0]
    await ring.open(one)
    await ring.open(other)
    assert {name.record_id for name in names(ring)} == {one.id, other.id}
    ring.clock.advance(0.9 * LEASE)
    assert kms.unwraps == 4  # each is renewed


async def test_2_a_key_set_may_have_a_shorter_lease() -> None:
    kms = FakeKms()
    ring = Ring({"strict": KeySet(kms, lease=60.0), "usual": KeySet(kms)})
    strict, usual = wrapped_by(kms, namespace="strict")[0], wrapped_by(kms, namespace="usual")[0]
    for record in (strict, usual):
        await ring.open(record)
    await ring.seal("strict")
    kms.denied = True
    ring.clock.advance(60)
    assert ring.use(strict, usual) == [None, lease_key(ring, usual)]
    assert ring.keyring.try_sealing_key("strict") is None


def lease_key(ring: Ring, record: Record) -> bytes:
    return ring.kept_key(record).key


# --- 3: a lease is looked up or made only after a successful, checked unwrap -----------------------------------------


@pytest.mark.parametrize("fault", [KeyDenied("no"), InvalidCiphertext("no"), KmsUnavailable("no")])
async def test_3_a_failed_unwrap_makes_no_lease(fault: EnvelopeError) -> None:
    ring = Ring()
    record, _ = wrapped_by(ring.kms)
    ring.kms.fail_next(*[fault] * 100)
    with pytest.raises(type(fault)):
        await ring.open(record, timeout=1)
    assert (names(ring), ring.keyring._leases.register.under_way) == (set(), {})


async def test_3_a_secret_that_does_not_lead_to_the_id_makes_none() -> None:
    record, other = wrapped_by(FakeKms("key"))[0], wrapped_by(FakeKms("key"))[0]

    class Bindless(FakeKms):
        def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
            return Unwrapped(bytes(32), "1")

    ring = Ring(Bindless("key"))
    for one in (record, other):
        with pytest.raises(InvalidCiphertext):
            await ring.open(one)
    gc.collect()
    assert names(ring) == set()


# --- 4: the witness is that success, immutable; renewal repeats that call, the id check, and compares the version ----


async def test_4_renewal_repeats_the_very_call_that_succeeded() -> None:
    asked: list[tuple[WrappedSecret, dict[str, str]]] = []

    class Noting(FakeKms):
        def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
            asked.append((wrapped, dict(context)))
            return super().unwrap(wrapped, context)

    kms = Noting()
    ring = Ring(kms)
    record, _ = wrapped_by(kms, context=TENANT_A)
    await ring.open(record)
    await ring.open(relabelled(record, "made up"))  # another spelling of it is read meanwhile
    ring.clock.advance(0.9 * LEASE)
    assert asked == [asked[0]] * 2
    assert asked[0][1] == record.kms_context
    witness = lease_of(ring, record).witness
    for field in ("wrapped", "context", "head", "record_id", "version", "master"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(witness, field, None)


@pytest.mark.parametrize("answer", [Unwrapped(bytes(32), "1"), Unwrapped(b"", "1"), "another version"])
async def test_4_another_answer_than_before_is_a_corrupt_witness_which_extends_nothing(answer: object) -> None:
    class Changing(FakeKms):
        change: object = None

        def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
            unwrapped = super().unwrap(wrapped, context)
            if self.change is None:
                return unwrapped
            return self.change if isinstance(self.change, Unwrapped) else Unwrapped(unwrapped.secret, "2")

    kms = Changing()
    ring = Ring(kms)
    record, _ = wrapped_by(kms)
    await ring.open(record)
    kms.change = answer
    ring.clock.advance(LEASE - 1)
    assert ring.use(record)[0] is not None
    assert lease_of(ring, record).witness is None
    ring.clock.advance(1)
    assert ring.use(record) == [None]


# --- 5: a cached key holds only leases of unwraps of its own id and head ---------------------------------------------


async def test_5_a_cache_hit_adds_no_lease() -> None:
    """Recipients are not authenticated: whoever can write to Temporal can add one to a record."""
    revoked, other = FakeKms(), FakeKms()
    ring = Ring(KeySet(revoked, decrypt_keys=(other,)))
    record, key = wrapped_by(revoked)
    foreign, _ = wrapped_by(other)
    await ring.open(record)
    await ring.open(foreign)
    mixed = build_record(record.head, record.id, [*foreign.recipients, *record.recipients])
    alone = build_record(record.head, record.id, foreign.recipients)
    assert [await ring.open(one) for one in (mixed, alone)] == [key, key]
    assert revoked.unwraps + other.unwraps == 2
    assert len(ring.kept_key(record).leases) == 1
    revoked.denied = True
    ring.advance(LEASE, step=10, use=lambda: ring.use(mixed, alone, record, foreign))
    assert ring.use(mixed, alone, record) == [None] * 3


# --- 6: success counts from the call; a denial ends lease and grace; no answer is grace; corrupt extends nothing ------


async def test_6_a_denial_ends_the_lease_and_its_grace_and_a_later_success_begins_another() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    await ring.open(record)
    denied = lease_of(ring, record)
    ring.kms.down = True
    ring.advance(LEASE + 10, step=5, use=lambda: ring.use(record))
    assert ring.use(record) == [key]
    ring.kms.down, ring.kms.denied = False, True
    ring.clock.advance(10)
    assert ring.use(record) == [None]
    ring.kms.denied, ring.kms.down = False, True
    ring.clock.advance(GRACE / 2)
    assert ring.use(record) == [None]
    ring.kms.down = False
    assert await ring.open(record) == key
    assert lease_of(ring, record) is not denied
    assert denied.ended


# --- 7: a new record's denial ends nothing, is cached for its bytes, and brings renewals forward ----------------------


async def refused(ring: Ring, record: Record) -> None:
    """Ask for a record that the KMS refuses, and for no other."""
    ring.kms.fail_next(KeyDenied("this record"))
    with pytest.raises(KeyDenied):
        await ring.open(record)


async def test_7_a_denied_record_is_refused_for_a_while_without_another_call() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    await refused(ring, record)
    with pytest.raises(KeyDenied):
        await ring.open(record)
    assert ring.kms.unwraps == 1
    ring.clock.advance(REFUSAL)
    assert await ring.open(record) == key


async def test_7_denials_bring_a_renewal_forward_once_in_a_while_and_end_nothing() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    await ring.open(record)
    before = ring.kms.unwraps
    for _ in range(100):
        await refused(ring, wrapped_by(ring.kms)[0])
    assert ring.kms.unwraps - before == 100 + 1
    ring.clock.advance(REFUSAL)
    await refused(ring, wrapped_by(ring.kms)[0])
    assert ring.kms.unwraps - before == 101 + 2
    assert ring.use(record) == [key]


async def test_7_one_renewal_at_a_time_is_brought_forward() -> None:
    jobs = Jobs()
    ring = Ring(spawn=jobs)
    await ring.open(wrapped_by(ring.kms)[0])
    ring.clock.advance(0.1 * LEASE)
    records = [wrapped_by(ring.kms)[0] for _ in range(3)]
    ring.kms.fail_next(*[KeyDenied("these records")] * 3)
    waiting = [asyncio.ensure_future(ring.keyring.opening_key(record)) for record in records]
    await settle()
    for _ in range(3):
        jobs.run_one()
    assert len(jobs) == 1
    assert all(isinstance(error, KeyDenied) for error in await asyncio.gather(*waiting, return_exceptions=True))
    jobs.run()
    assert ring.kms.unwraps == 1 + 3 + 1


async def test_7_only_leases_of_that_key_and_context_are_renewed() -> None:
    kms = Policy()
    ring = Ring(kms)
    mine, _ = wrapped_by(kms, context=TENANT_A)
    await ring.open(mine)
    kms.forbidden.add(("tenant", "b"))
    before = kms.unwraps
    with pytest.raises(KeyDenied):
        await ring.open(wrapped_by(FakeKms(kms.key_id), context=TENANT_B)[0])
    assert kms.unwraps - before == 1


async def test_7_a_denial_that_is_no_accident_is_noticed_at_once_for_every_version() -> None:
    ring = Ring()
    records = []
    for _ in range(3):
        records.append(wrapped_by(ring.kms)[0])
        ring.kms.rotate()
    for record in records:
        await ring.open(record)
    another, _ = wrapped_by(ring.kms)
    ring.kms.denied = True
    with pytest.raises(KeyDenied):
        await ring.open(another)
    assert ring.use(*records) == [None] * 3
    assert ring.kept == 0


async def test_7_the_version_that_a_record_claims_says_which_lease_to_doubt_first() -> None:
    ring = Ring()
    old, _ = wrapped_by(ring.kms)
    another_old, _ = wrapped_by(ring.kms)
    ring.kms.rotate()
    new, key = wrapped_by(ring.kms)
    for record in (new, old):
        await ring.open(record)
    del ring.kms._versions["1"]
    with pytest.raises(KeyDenied):
        await ring.open(another_old)
    assert ring.use(old, new) == [None, key]
    assert ring.events.of("unwrap") == ["ok", "ok", "KeyDenied", "KeyDenied", "ok"]


async def test_7_however_many_records_have_leases_a_denial_costs_one_call_more() -> None:
    kms = Untold()
    ring = Ring(kms)
    records = [wrapped_by(kms)[0] for _ in range(50)]
    for record in records:
        await ring.open(record)
    before = kms.unwraps
    for _ in range(20):
        hostile, _ = wrapped_by(kms)
        kms.fail_next(KeyDenied("this record"))
        with pytest.raises(KeyDenied):
            await ring.open(hostile)
    assert kms.unwraps - before == 40
    assert None not in ring.use(*records)


async def test_7_denials_of_records_with_leases_of_their_own_queue_no_renewals_up() -> None:
    """What is urgent has few threads, for all: a new key to seal with would wait behind them."""
    kms, jobs = Untold(), Jobs()
    ring = Ring(kms, spawn=jobs)
    for _ in range(50):
        await ring.open(wrapped_by(kms)[0])
    ring.clock.advance(0.1 * LEASE)
    hostile = [wrapped_by(kms)[0] for _ in range(20)]
    kms.fail_next(*[KeyDenied("these records")] * 20)
    waiting = [asyncio.ensure_future(ring.keyring.opening_key(record)) for record in hostile]
    await settle()
    for _ in hostile:
        jobs.run_one()
    assert len(jobs) == 1
    assert all(isinstance(error, KeyDenied) for error in await asyncio.gather(*waiting, return_exceptions=True))


async def test_7_where_records_have_leases_of_their_own_a_revocation_is_noticed_for_each_in_turn() -> None:
    kms = Untold()
    ring = Ring(kms)
    records = [wrapped_by(kms)[0] for _ in range(50)]
    for record in records:
        await ring.open(record)
    another, _ = wrapped_by(kms)
    kms.denied = True
    with pytest.raises(KeyDenied):
        await ring.open(another)
    assert ring.use(*records) == [None] * 50


# --- 8: a result counts only if no denial of its name came after it was sent -----------------------------------------


@pytest.mark.parametrize("kms", [FakeKms(), Untold()], ids=["told", "untold"])
@pytest.mark.parametrize(("overlaps", "asked"), [(1, 2), (2, 3), (5, 3)])
async def test_8_a_first_answer_is_asked_for_again_if_its_kind_was_denied_meanwhile(
    kms: FakeKms, overlaps: int, asked: int
) -> None:
    """Once: who floods a reader with refused records must not keep it from opening others. Twice in a row the answer
    counts, and its lease is renewed at once, since that is how denials are followed up.
    """
    ring = Ring(kms)
    record, key = wrapped_by(kms)
    others = iter([wrapped_by(kms)[0] for _ in range(overlaps)])
    calls = 0

    def overtaken(operation: str) -> None:
        nonlocal calls
        calls += 1
        other = next(others, None)
        if other is not None:
            kms.before_call = lambda operation: None
            kms.fail_next(KeyDenied("another record"))
            with pytest.raises(KeyDenied):
                ring.keyring._opening._ask(other, b"another")
            kms.before_call = overtaken

    kms.before_call = overtaken
    assert await ring.open(record) == key
    kms.before_call = lambda operation: None
    assert calls == asked
    assert ring.use(record) == [key]


async def test_8_a_known_lease_is_extended_whatever_other_records_are_denied() -> None:
    ring = Ring()
    await ring.open(wrapped_by(ring.kms)[0])
    record, other = wrapped_by(ring.kms)[0], wrapped_by(ring.kms)[0]

    def overtaken(operation: str) -> None:
        ring.kms.before_call = lambda operation: None
        ring.kms.fail_next(KeyDenied("another record"))
        with pytest.raises(KeyDenied):
            ring.keyring._opening._ask(other, b"another")

    ring.kms.before_call = overtaken
    await ring.open(record)
    assert ring.events.of("unwrap") == ["ok", "KeyDenied", "ok", "ok"]  # the third is the renewal brought forward


async def test_8_an_answer_sent_before_its_own_lease_was_denied_begins_none() -> None:
    ring = Ring()
    known, record = wrapped_by(ring.kms)[0], wrapped_by(ring.kms)[0]
    await ring.open(known)
    lease = lease_of(ring, known)

    def disabled(operation: str) -> None:
        ring.kms.before_call = lambda operation: None
        ring.kms.denied = True
        ring.keyring._leases.renew_now([lease])
        ring.kms.denied = False
        ring.kms.before_call = lambda operation: setattr(ring.kms, "denied", True)

    ring.kms.before_call = disabled
    with pytest.raises(KeyDenied):
        await ring.open(record)
    assert ring.events.of("unwrap") == ["ok", "KeyDenied", "ok", "KeyDenied"]
    assert ring.kept == 0


async def test_8_what_was_denied_is_remembered_for_the_calls_that_were_sent_before_and_no_longer() -> None:
    """Under load some call of a kind is always under way."""
    ring = Ring()
    record, _ = wrapped_by(ring.kms)
    await ring.open(record)
    lease, leases = lease_of(ring, record), ring.keyring._leases
    with leases.register.call_under_way(lease.name.request) as before:
        ring.kms.fail_next(KeyDenied("no more"))
        leases.renew_now([lease])
        with leases.register.call_under_way(lease.name.request) as after:
            assert (before.denials, set(before.ended)) == (1, {lease.name})
            assert (after.denials, set(after.ended)) == (0, set())
    assert leases.register.under_way == {}


# --- 9: a denial walks nothing ---------------------------------------------------------------------------------------


async def test_9_keys_are_refused_at_once_and_wiped_later_in_the_background_without_the_lock() -> None:
    jobs = Jobs()
    ring = Ring(spawn=jobs)
    wanted = [wrapped_by(ring.kms, context=TENANT_A)[0] for _ in range(300)]
    others = [wrapped_by(ring.kms, context=TENANT_B)[0] for _ in range(3)]
    for record in (*wanted, *others):
        await ring.open(record)
    opening, lock = ring.keyring._opening, ring.keyring._calls.lock
    discard, locked = opening._keys.discard, list[bool]()

    def discard_and_note(record_id: bytes) -> None:
        locked.append(lock.locked())
        discard(record_id)

    opening._keys.discard = discard_and_note  # type: ignore[method-assign]
    ring.kms.fail_next(KeyDenied("no more"))
    ring.keyring._leases.renew_now([lease_of(ring, wanted[0])])
    assert ring.use(*wanted) == [None] * 300
    assert None not in ring.use(*others)
    assert (ring.kept, locked) == (303, [])
    jobs.run()
    assert (ring.kept, locked) == (3, [False] * 300)


async def test_9_refused_records_leave_every_other_key_at_hand() -> None:
    ring = Ring()
    wanted = [wrapped_by(ring.kms)[0] for _ in range(50)]
    for record in wanted:
        await ring.open(record)
    hot = dict(ring.keyring._opening._hot)
    for _ in range(20):
        await refused(ring, wrapped_by(ring.kms)[0])
    assert ring.keyring._opening._hot == hot
    assert None not in ring.use(*wanted)


async def test_9_a_key_that_another_lease_vouches_for_is_not_wiped() -> None:
    first, second = FakeKms(), FakeKms()
    ring = Ring(KeySet(first, (second,)))
    record, key = wrapped_by(first, second)
    await ring.open(record)
    lease = lease_of(ring, record)
    first.down = True
    ring.clock.advance(LEASE + GRACE)
    await ring.open(record)
    first.down, first.denied = False, True
    ring.keyring._leases.renew_now([lease])
    assert lease.ended
    assert ring.use(record) == [key]


async def test_9_a_lease_knows_only_keys_that_are_still_there() -> None:
    limits = dataclasses.replace(Ring().keyring.limits, cache_size=10)
    ring = Ring(limits=limits)
    records = [wrapped_by(ring.kms)[0] for _ in range(50)]
    for record in records:
        await ring.open(record)
    assert len(lease_of(ring, records[-1]).records) == 10


# --- 10: direct mode: the same, no grace, and no renewal for one record ----------------------------------------------


@pytest.mark.parametrize(("kms", "renewals"), [(FakeKms(), 1), (Untold(), 0)], ids=["told", "untold"])
async def test_10_a_data_key_s_own_lease_is_not_renewed_and_none_has_grace(kms: FakeKms, renewals: int) -> None:
    ring = Ring(kms)
    record, key = wrapped_by(kms, purpose=Purpose.DATA_KEY)
    before = kms.unwraps
    assert await ring.open(record) == key
    ring.clock.advance(0.9 * LEASE)
    assert kms.unwraps - before == 1 + renewals
    kms.down = True
    ring.advance(LEASE, step=10, use=lambda: ring.use(record))
    assert ring.use(record) == [None]
    with pytest.raises(KmsUnavailable):
        await ring.open(record, timeout=5)


# --- 11: encrypt-only roles: operation wrap, the same name, one witness wrap a renewal -------------------------------


async def test_11_wrapping_vouches_by_one_wrap_a_lease_for_the_version_and_context_that_it_proved() -> None:
    ring = Ring(verify_wraps=False)
    key = await ring.seal()
    assert ring.calls == (2, 0)
    [name] = names(ring)
    assert (name.request.operation, name.version, name.record_id) == ("wrap", "1", b"")
    assert "envelope-codec:id" not in dict(name.request.context)
    ring.advance(3 * LEASE, step=10, use=lambda: ring.keyring.try_sealing_key("default"))
    assert 4 <= ring.kms.wraps - 2 + 1 <= 6
    assert ring.keyring.try_sealing_key("default") is key


async def test_11_after_a_rotation_the_old_version_s_key_is_replaced_within_a_lease() -> None:
    ring = Ring(verify_wraps=False)
    old = await ring.seal()
    ring.kms.rotate()
    ring.advance(LEASE, step=10, use=lambda: ring.keyring.try_sealing_key("default"))
    new = await ring.seal()
    assert new is not old
    assert new.record.recipients[0].key_version == "2"


# --- 12: a lease counts as used when a payload opened or was sealed --------------------------------------------------


def sealed_by(record: Record, key: bytes) -> Payload:
    wrapped, data = seal(Payload(data=b"x").SerializeToString(), record, key)
    return Payload(metadata={**record.metadata, NAME_DATA_KEY: wrapped or b""}, data=data)


async def test_12_payloads_that_do_not_open_keep_no_lease_alive() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    codec = EnvelopeCodec(EnvelopeConfig(key=ring.kms), keyring=ring.keyring)
    genuine = sealed_by(record, key)
    hostile = Payload(metadata=dict(genuine.metadata), data=bytes(len(genuine.data)))
    await ring.finish(codec.decode([genuine]))
    ring.clock.advance(LEASE)  # used once, so renewed once
    assert ring.kms.unwraps == 2
    for _ in range(30):
        ring.clock.advance(LEASE / 30)
        with pytest.raises(InvalidCiphertext):
            await ring.finish(codec.decode([hostile]))
    assert ring.kms.unwraps <= 3
    before = ring.kms.unwraps
    ring.advance(3 * LEASE, step=20, use=lambda: None)
    assert ring.kms.unwraps == before


async def test_12_to_unwrap_a_record_is_no_use() -> None:
    ring = Ring()
    record, _ = wrapped_by(ring.kms)
    await ring.finish(ring.keyring.opening_key(record))
    await ring.finish(ring.keyring.prewarm("default"))
    ring.clock.advance(2 * LEASE)
    assert ring.kms.unwraps == 2  # the record, and the check of the new sealing key
    assert ring.use(record) == [None]


async def test_12_sealing_is_use() -> None:
    ring = Ring()
    await ring.seal()
    ring.advance(10 * LEASE, step=20, use=lambda: ring.keyring.try_sealing_key("default"))
    assert ring.keyring.try_sealing_key("default") is not None
    assert ring.kms.unwraps >= 10


# --- who would bend it -----------------------------------------------------------------------------------------------


async def test_a_writer_without_keys_keeps_no_disabled_version_alive_by_another_label() -> None:
    kms = Untold()
    ring = Ring(kms)
    old, _ = wrapped_by(kms)
    kms.rotate()
    new, _ = wrapped_by(kms)
    await ring.open(old)
    for hostile in (relabelled(new, "1"), relabelled(new, ""), new):
        await ring.open(hostile)
    kms.disabled.add("1")
    assert last_served(ring, old, relabelled(new, "1"), new) <= LEASE


async def test_who_may_encrypt_but_not_decrypt_keeps_no_disabled_version_alive_by_records_of_his_own() -> None:
    """He makes records that open, of any context, and labels them as he likes."""
    for kms in (Untold(), FakeKms()):
        ring = Ring(kms)
        old, _ = wrapped_by(kms)
        await ring.open(old)
        kms.rotate()
        if isinstance(kms, Untold):
            kms.disabled.add("1")
        else:
            del kms._versions["1"]
        last = 0.0
        for second in range(0, int(3 * LEASE), 10):
            own, _ = wrapped_by(kms)
            with_label = relabelled(own, "1" if isinstance(kms, Untold) else "2")
            await ring.open(with_label)
            if ring.use(old)[0] is not None:
                last = float(second)
            ring.clock.advance(10)
        assert last <= LEASE


async def test_what_a_policy_refuses_for_one_tenant_is_not_outvoted_by_another() -> None:
    kms = Policy()
    ring = Ring({"default": KeySet(kms)})
    mine, theirs = wrapped_by(kms, context=TENANT_A)[0], wrapped_by(kms, context=TENANT_B)[0]
    for record in (mine, theirs):
        await ring.open(record)
    kms.forbidden.add(("tenant", "a"))
    assert last_served(ring, mine, theirs) <= LEASE
    assert ring.use(theirs) != [None]


async def test_what_a_policy_refuses_for_one_purpose_is_not_outvoted_by_another() -> None:
    kms = Policy()
    ring = Ring(kms)
    direct, usual = wrapped_by(kms, purpose=Purpose.DATA_KEY)[0], wrapped_by(kms)[0]
    for record in (direct, usual):
        await ring.open(record)
    kms.forbidden.add(("envelope-codec:purpose", "data-key"))
    assert last_served(ring, direct, usual) <= LEASE


async def test_what_a_policy_refuses_for_one_record_is_noticed_when_that_is_asked_for_again() -> None:
    """What stays: a lease vouches for all records of one kind, so this one serves until ``cache_ttl`` is over."""
    kms, ttl = Policy(), 3 * LEASE
    ring = Ring(kms, limits=dataclasses.replace(LIMITS, cache_ttl=ttl))
    single, other = wrapped_by(kms)[0], wrapped_by(kms)[0]
    for record in (single, other):
        await ring.open(record)
    kms.forbidden.add(("envelope-codec:id", single.id.hex()))
    assert LEASE < last_served(ring, single, other) <= ttl
    with pytest.raises(KeyDenied):
        await ring.open(single)
    await ring.open(other)


async def test_who_has_an_old_wrapping_key_seals_under_it_only_until_its_master_key_is_revoked() -> None:
    ring = Ring()
    record, stolen = wrapped_by(ring.kms)
    codec = EnvelopeCodec(EnvelopeConfig(key=ring.kms), keyring=ring.keyring)
    assert await ring.finish(codec.decode([sealed_by(record, stolen)]))
    ring.kms.denied = True
    ring.clock.advance(LEASE)
    with pytest.raises(KeyDenied):
        await ring.finish(codec.decode([sealed_by(record, stolen)]))


async def test_who_had_a_secret_can_wrap_it_under_another_configured_key() -> None:
    """What stays: such a record is genuine under that key, and opens for as long as that key is allowed."""
    revoked, other = FakeKms(), FakeKms()
    ring = Ring(KeySet(revoked, decrypt_keys=(other,)))
    secret = bytes(range(32))
    record, key = wrapped_by(revoked, secret=secret)
    rewrapped, _ = wrapped_by(other, secret=secret)
    assert rewrapped.id == record.id
    revoked.denied = True
    assert await ring.open(rewrapped) == key
    other.denied = True
    assert last_served(ring, record) <= LEASE


async def test_a_recipient_that_does_not_open_adds_no_lease_to_a_record_of_several() -> None:
    revoked, evergreen = FakeKms(), FakeKms()
    ring = Ring(KeySet(revoked, decrypt_keys=(evergreen,)))
    record, _ = wrapped_by(evergreen, revoked)
    hostile = corrupted(record, 0)
    foreign, _ = wrapped_by(evergreen)
    await ring.open(hostile)
    await ring.open(foreign)
    revoked.denied = True
    assert last_served(ring, hostile, foreign) <= LEASE
