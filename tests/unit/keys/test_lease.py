"""For how long a successful call vouches for the keys under a master key, and what ends that."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping

import pytest

from envelope_codec.envelope import Record, build_record
from envelope_codec.errors import InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.lease import Answer, Lease, LeaseState
from envelope_codec.keys.lease_name import LeaseName, Request
from envelope_codec.keys.limits import Limits
from envelope_codec.keys.moment import Moment
from envelope_codec.kms import Unwrapped, WrappedSecret
from envelope_codec.testing import FakeKms, ManualClock
from tests.support.keyring_on_fakes import GRACE, LEASE, Jobs, Ring, settle, wrapped_by


def records(ring: Ring, count: int, namespace: str = "default") -> dict[Record, bytes]:
    return dict(wrapped_by(ring.kms, namespace=namespace) for _ in range(count))


def unrenewed(ring: Ring) -> None:
    """Let the next renewal in the background come to nothing, so that the lease lasts for as long as it has."""
    ring.kms.fail_next(InvalidCiphertext("as if corrupt"))


async def served(ring: Ring, record: Record, key: bytes) -> bool:
    """Whether the key of a record is served without a call."""
    before = ring.kms.unwraps
    return await ring.open(record) == key and ring.kms.unwraps == before


async def open_all(ring: Ring, wanted: dict[Record, bytes]) -> int:
    """Open these records; how many calls it took to unwrap."""
    before = ring.kms.unwraps
    assert [await ring.open(record) for record in wanted] == list(wanted.values())
    return ring.kms.unwraps - before


async def test_keys_are_used_without_a_call_until_the_lease_ends_and_not_after() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    await ring.open(record)
    unrenewed(ring)
    ring.clock.advance(LEASE - 0.001)
    assert ring.keyring.try_opening_key(record) == key
    ring.clock.advance(0.001)
    assert ring.keyring.try_opening_key(record) is None


async def test_an_idle_lease_lapses() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    await ring.open(record)
    ring.clock.advance(0.8 * LEASE)  # here it is renewed once more, for it has been used
    ring.clock.advance(LEASE - 0.001)
    assert ring.keyring.try_opening_key(record) == key
    ring.clock.advance(0.001)
    assert ring.keyring.try_opening_key(record) is None
    assert ring.kms.unwraps == 2


async def test_a_lease_in_use_is_renewed_in_the_background_before_it_ends_at_one_call_a_lease() -> None:
    ring = Ring()
    wanted = records(ring, 50)
    assert await open_all(ring, wanted) == 50
    missing: list[Record] = []

    def use() -> None:
        missing.extend(record for record, key in zip(wanted, ring.use(*wanted), strict=True) if key is None)

    ring.advance(20 * LEASE, step=LEASE / 30, use=use)
    assert missing == []
    assert 20 <= ring.kms.unwraps - 50 <= 26


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 0.8), (1.0, 0.7)])
async def test_the_renewal_in_the_background_is_jittered(jitter: float, share: float) -> None:
    ring = Ring(jitter=jitter)
    record, _ = wrapped_by(ring.kms)
    await ring.open(record)
    ring.clock.advance(share * LEASE - 0.001)
    assert ring.kms.unwraps == 1
    ring.clock.advance(0.002)
    assert ring.kms.unwraps == 2


async def test_a_lease_not_in_use_is_not_renewed_and_leaves_no_timer() -> None:
    ring = Ring()
    record, _ = wrapped_by(ring.kms)
    await ring.open(record)
    ring.clock.advance(20 * LEASE)
    assert ring.kms.unwraps == 2  # once, for it was used since the first
    assert ring.clock.next_due is None


async def test_after_a_lapse_one_call_brings_back_all_keys() -> None:
    ring = Ring()
    wanted = records(ring, 500)
    await open_all(ring, wanted)
    ring.clock.advance(10 * LEASE)
    before = ring.kms.unwraps
    keys = await asyncio.gather(*(ring.keyring.opening_key(record) for record in wanted))
    assert keys == list(wanted.values())
    assert ring.kms.unwraps - before == 1
    assert all(ring.keyring.try_opening_key(record) == key for record, key in wanted.items())


@pytest.mark.slow
async def test_after_a_lapse_one_call_brings_back_all_keys_however_late_each_asks() -> None:
    jobs = Jobs()
    ring = Ring(spawn=jobs)
    wanted = records(ring, 100)
    first = [asyncio.ensure_future(ring.keyring.opening_key(record)) for record in wanted]
    await settle()
    jobs.run()
    await asyncio.gather(*first)
    ring.clock.advance(10 * LEASE)
    jobs.run()
    ring.clock.advance(10 * LEASE)
    before = ring.kms.unwraps
    waiting = [asyncio.ensure_future(ring.keyring.opening_key(record)) for record in list(wanted)[:50]]
    await settle()
    assert len(jobs) == 1
    jobs.run()
    waiting += [asyncio.ensure_future(ring.keyring.opening_key(record)) for record in list(wanted)[50:]]
    await settle()
    jobs.run()
    assert await asyncio.gather(*waiting) == list(wanted.values())
    assert ring.kms.unwraps - before == 1


async def test_an_unwrap_of_another_record_renews_the_lease_for_all() -> None:
    ring = Ring()
    old, key = wrapped_by(ring.kms)
    await ring.open(old)
    ring.clock.advance(0.5 * LEASE)
    await ring.open(wrapped_by(ring.kms)[0])
    ring.clock.advance(0.4 * LEASE)  # past the renewal that the first would have had
    assert ring.kms.unwraps == 2
    ring.clock.advance(0.4 * LEASE)
    assert ring.keyring.try_opening_key(old) == key


async def test_sealing_and_opening_share_a_lease_under_one_version() -> None:
    ring = Ring()
    sealing = await ring.seal()
    record, _ = wrapped_by(ring.kms)
    await ring.open(record)
    ring.clock.advance(10 * LEASE)
    before = ring.kms.unwraps
    await ring.open(record)
    assert await ring.seal() is sealing
    assert ring.kms.unwraps - before == 1


async def test_other_versions_have_leases_of_their_own() -> None:
    ring = Ring()
    old = records(ring, 3)
    ring.kms.rotate()
    new = records(ring, 3)
    await open_all(ring, {**old, **new})
    ring.clock.advance(10 * LEASE)
    assert await open_all(ring, old) == 1
    assert await open_all(ring, new) == 1


async def test_other_namespaces_have_leases_of_their_own() -> None:
    ring = Ring()
    here, there = records(ring, 3), records(ring, 3, "other")
    await open_all(ring, {**here, **there})
    ring.clock.advance(10 * LEASE)
    assert await open_all(ring, here) == 1
    assert await open_all(ring, there) == 1


async def test_a_denial_in_one_namespace_ends_no_lease_in_another() -> None:
    """Who configures two credentials for one master key may lose one of them."""
    mine, theirs = FakeKms("k"), FakeKms("k")
    theirs._versions = mine._versions
    ring = Ring({"mine": KeySet(mine), "theirs": KeySet(theirs)})
    here, there = wrapped_by(mine, namespace="mine"), wrapped_by(mine, namespace="theirs")
    await ring.open(here[0])
    await ring.open(there[0])
    theirs.denied = True
    ring.clock.advance(0.8 * LEASE)
    before = mine.unwraps
    assert await ring.open(here[0]) == here[1]
    assert mine.unwraps == before
    with pytest.raises(KeyDenied):
        await ring.open(there[0])


async def test_a_lease_starts_when_the_call_was_sent() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    ring.kms.before_call = lambda operation: ring.clock.advance(100)
    assert await ring.open(record) == key
    ring.kms.before_call = lambda operation: None
    unrenewed(ring)
    ring.clock.advance(LEASE - 100.001)
    assert ring.keyring.try_opening_key(record) == key
    ring.clock.advance(0.002)
    assert ring.keyring.try_opening_key(record) is None


async def test_a_renewed_lease_starts_when_the_renewal_was_sent() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    await ring.open(record)
    ring.kms.before_call = lambda operation: ring.clock.advance(30)
    ring.clock.advance(0.8 * LEASE)
    assert ring.kms.unwraps == 2
    ring.kms.before_call = lambda operation: None
    assert ring.keyring.try_opening_key(record) == key
    unrenewed(ring)
    ring.clock.advance(LEASE - 30.001)
    assert ring.keyring.try_opening_key(record) == key
    ring.clock.advance(0.002)
    assert ring.keyring.try_opening_key(record) is None


async def test_a_slower_answer_to_an_earlier_call_does_not_shorten_a_lease() -> None:
    ring = Ring()
    first, second = wrapped_by(ring.kms)[0], wrapped_by(ring.kms)[0]

    def overtake(operation: str) -> None:
        ring.kms.before_call = lambda operation: None
        ring.clock.advance(100)
        ring.keyring._opening._ask(second, b"overtaking")

    ring.kms.before_call = overtake
    await ring.open(first)
    unrenewed(ring)
    ring.clock.advance(LEASE - 1)
    assert ring.keyring.try_opening_key(first) is not None


# --- denials that arrive while a call is under way ----------------------------------------------------------------


def deny_during(ring: Ring, other: Record, then: Callable[[], None] = lambda: None) -> None:
    """While the next call is under way, another is refused."""

    def refuse(operation: str) -> None:
        ring.kms.before_call = lambda operation: None
        ring.kms.denied = True
        with pytest.raises(KeyDenied):
            ring.keyring._opening._ask(other, b"another")
        ring.kms.denied = False
        then()

    ring.kms.before_call = refuse


async def test_a_first_unwrap_is_asked_again_if_a_denial_arrived_meanwhile() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    other, _ = wrapped_by(ring.kms)
    deny_during(ring, other)
    assert await ring.open(record) == key
    assert ring.events.of("unwrap") == ["KeyDenied", "ok", "ok"]


async def test_a_first_unwrap_counts_for_nothing_if_the_denial_that_arrived_meanwhile_lasts() -> None:
    ring = Ring()
    record, _ = wrapped_by(ring.kms)
    other, _ = wrapped_by(ring.kms)
    answer_then_deny(ring, other)
    with pytest.raises(KeyDenied):
        await ring.open(record)
    assert ring.events.of("unwrap") == ["KeyDenied", "ok", "KeyDenied"]
    assert ring.kept == 0


def answer_then_deny(ring: Ring, other: Record) -> None:
    """While the next call is under way, the key is disabled, which another call is told; this one still succeeds."""

    def disabled(operation: str) -> None:
        ring.kms.denied = True

    deny_during(ring, other, then=lambda: setattr(ring.kms, "before_call", disabled))


async def test_a_renewal_counts_for_nothing_if_its_lease_was_denied_meanwhile() -> None:
    ring = Ring()
    record, _ = wrapped_by(ring.kms)
    await ring.open(record)
    lease = lease_of(ring, record)

    def denied_first(operation: str) -> None:
        ring.kms.before_call = lambda operation: None
        ring.kms.denied = True
        ring.keyring._leases.renew_now([lease])
        ring.kms.denied = False

    ring.kms.before_call = denied_first
    ring.clock.advance(0.8 * LEASE)
    assert ring.events.of("unwrap") == ["ok", "KeyDenied", "ok"]
    assert lease.ended
    assert ring.keyring.try_opening_key(record) is None
    assert ring.kept == 0


def lease_of(ring: Ring, record: Record) -> Lease:
    return ring.kept_key(record).leases[0]


async def test_a_key_that_was_denied_just_after_it_came_is_not_kept() -> None:
    """The denial comes between the answer and the keeping of the key."""
    ring = Ring()
    record, _ = wrapped_by(ring.kms)
    other, _ = wrapped_by(ring.kms)

    keep = ring.keyring._opening._keep

    def denied_first(*arguments: object) -> None:
        ring.kms.denied = True
        with pytest.raises(KeyDenied):
            ring.keyring._opening._ask(other, b"another")
        keep(*arguments)  # type: ignore[arg-type]

    ring.keyring._opening._keep = denied_first  # type: ignore[assignment, method-assign]
    await ring.open(record)
    assert ring.keyring.try_opening_key(record) is None
    assert ring.kept == 0


# --- a record that is refused, and a master key that is not -------------------------------------------------------


class Particular(FakeKms):
    """Whose policy refuses some contexts, as one may that is bound to a tenant."""

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        if "refused" in context:
            self.unwraps += 1
            raise KeyDenied("not in this context")
        return super().unwrap(wrapped, context)


async def test_a_record_that_is_refused_takes_no_other_key_with_it() -> None:
    """Anybody who can write to Temporal can make one up, and must not be able to empty the keyring."""
    kms = Particular()
    ring = Ring(kms)
    wanted = dict(wrapped_by(kms) for _ in range(20))
    for record in wanted:
        await ring.open(record)
    sealing = await ring.seal()
    before = kms.unwraps
    for _ in range(5):
        refused, _ = wrapped_by(kms, context={"refused": "yes"})
        with pytest.raises(KeyDenied):
            await ring.open(refused)
    assert kms.unwraps - before == 5  # no lease has that context
    before = kms.unwraps
    assert [await ring.open(record) for record in wanted] == list(wanted.values())
    assert ring.keyring.try_sealing_key("default") is sealing
    assert kms.unwraps == before


async def test_a_refusal_ends_no_lease_that_is_not_refused_itself() -> None:
    """It is renewed at once, and what comes of that counts."""
    for fault in (KmsUnavailable("no answer"), InvalidCiphertext("as if corrupt"), KeyDenied("no")):
        live = not isinstance(fault, KeyDenied)
        ring = Ring()
        record, key = wrapped_by(ring.kms)
        await ring.open(record)
        refused, _ = wrapped_by(ring.kms)
        ring.kms.fail_next(KeyDenied("this record"), fault)
        with pytest.raises(KeyDenied):
            await ring.open(refused)
        assert ring.events.of("unwrap") == ["ok", "KeyDenied", type(fault).__name__]
        assert ring.use(record) == [key if live else None]
        assert ring.kept == live
        assert await ring.open(record) == key


# --- clocks -------------------------------------------------------------------------------------------------------


async def test_a_lease_ends_by_the_wall_clock_when_the_monotonic_clock_stood_still() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    sealing = await ring.seal()
    await ring.open(record)
    ring.clock.suspend(LEASE - 0.001)
    assert ring.keyring.try_opening_key(record) == key
    assert ring.keyring.try_sealing_key("default") is sealing
    ring.clock.suspend(0.001)
    assert ring.keyring.try_opening_key(record) is None
    assert ring.keyring.try_sealing_key("default") is None


async def test_a_denied_key_is_not_used_after_a_suspend() -> None:
    ring = Ring()
    record, _ = wrapped_by(ring.kms)
    await ring.open(record)
    await ring.seal()
    ring.kms.denied = True
    ring.clock.suspend(LEASE)
    with pytest.raises(KeyDenied):
        await ring.open(record)
    with pytest.raises(KeyDenied):
        await ring.seal()


async def test_after_a_suspend_one_call_brings_back_all_keys() -> None:
    """Also where the monotonic clock has not moved on by a single tick."""
    ring = Ring()
    wanted = records(ring, 20)
    await open_all(ring, wanted)
    ring.clock.suspend(10 * LEASE)
    assert await open_all(ring, wanted) == 1
    assert all(ring.keyring.try_opening_key(record) == key for record, key in wanted.items())


@pytest.mark.parametrize("step", [-1.0, -10 * LEASE, -1e9])
async def test_a_wall_clock_that_steps_back_prolongs_no_lease(step: float) -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    await ring.open(record)
    unrenewed(ring)
    ring.clock.suspend(step)
    ring.clock.advance(LEASE - 0.001)
    assert ring.keyring.try_opening_key(record) == key
    ring.clock.advance(0.001)
    assert ring.keyring.try_opening_key(record) is None


async def test_a_wall_clock_that_steps_back_does_not_keep_a_lease_from_being_renewed() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    await ring.open(record)
    ring.clock.suspend(-10 * LEASE)
    ring.advance(3 * LEASE, step=LEASE / 10, use=lambda: ring.use(record))
    assert ring.keyring.try_opening_key(record) == key


# --- what a lease is of -------------------------------------------------------------------------------------------


class Versionless(FakeKms):
    """As AWS: the KMS does not tell key versions."""

    def wrap(self, secret, context):  # type: ignore[no-untyped-def]
        wrapped = super().wrap(secret, context)
        return type(wrapped)(wrapped.key_id, "", wrapped.ciphertext)

    def unwrap(self, wrapped, context):  # type: ignore[no-untyped-def]
        return super().unwrap(type(wrapped)(wrapped.key_id, "1", wrapped.ciphertext), context)


async def test_wrapping_vouches_for_no_key_that_opens() -> None:
    """A role that may still encrypt, and may decrypt no more."""
    kms = Versionless()
    ring = Ring(kms, verify_wraps=False)
    record, _ = wrapped_by(kms)
    await ring.open(record)
    await ring.seal()

    def no_more_decryption(operation: str) -> None:
        if operation == "unwrap":
            raise KeyDenied("no permission to decrypt")

    kms.before_call = no_more_decryption
    ring.advance(1.5 * LEASE, step=10, use=lambda: ring.keyring.try_sealing_key("default"))
    assert ring.keyring.try_sealing_key("default") is not None
    assert ring.keyring.try_opening_key(record) is None
    with pytest.raises(KeyDenied):
        await ring.open(record)


async def test_opening_vouches_for_no_key_that_seals_where_wrapping_does() -> None:
    """A role that may still decrypt, and may encrypt no more."""
    kms = Versionless()
    ring = Ring(kms, verify_wraps=False)
    record, key = wrapped_by(kms)
    await ring.seal()
    await ring.open(record)

    def no_more_encryption(operation: str) -> None:
        if operation == "wrap":
            raise KeyDenied("no permission to encrypt")

    kms.before_call = no_more_encryption
    assert ring.keyring.try_sealing_key("default") is not None
    ring.clock.advance(LEASE)
    assert kms.unwraps == 2
    assert await ring.open(record) == key
    assert kms.unwraps == 2
    assert ring.keyring.try_sealing_key("default") is None
    with pytest.raises(KeyDenied):
        await ring.seal()


async def test_a_recipient_that_did_not_open_a_record_does_not_vouch_for_it() -> None:
    """Recipients are not authenticated: anybody can add one that lives for ever to somebody else's record."""
    revoked, evergreen = FakeKms("revoked"), FakeKms("evergreen")
    ring = Ring(KeySet(revoked, decrypt_keys=(evergreen,)))
    record, _ = wrapped_by(revoked)
    foreign, key = wrapped_by(evergreen)
    mixed = build_record(record.head, record.id, [*record.recipients, *foreign.recipients])
    await ring.open(mixed)
    await ring.open(foreign)
    revoked.denied = True
    ring.advance(LEASE, step=10, use=lambda: ring.use(foreign))
    assert await served(ring, foreign, key)
    assert ring.keyring.try_opening_key(mixed) is None
    with pytest.raises(KeyDenied):
        await ring.open(mixed)


async def test_a_second_recipient_vouches_when_the_first_is_denied() -> None:
    first, second = FakeKms(), FakeKms()
    ring = Ring(KeySet(first, (second,)))
    record, key = wrapped_by(first, second)
    await ring.open(record)
    first.denied = True
    ring.clock.advance(0.8 * LEASE)
    assert ring.keyring.try_opening_key(record) is None
    assert await ring.open(record) == key
    assert second.unwraps == 1
    ring.advance(3 * LEASE, step=10, use=lambda: ring.use(record))
    assert ring.keyring.try_opening_key(record) == key


async def test_made_up_key_versions_leave_no_leases_behind() -> None:
    ring = Ring()
    record, _ = wrapped_by(ring.kms)
    for number in range(50):
        made_up = [type(r)(r.key_id, f"made up {number}", r.ciphertext) for r in record.recipients]
        with pytest.raises(KeyDenied):
            await ring.open(build_record(record.head, record.id, made_up))
    gc.collect()
    assert len(ring.keyring._leases.register.known) == 0


async def test_a_record_that_is_renewed_with_and_no_longer_opens_takes_only_itself_down() -> None:
    """The witness of a lease turns out corrupt: others are asked for themselves, and the first that opens renews."""
    ring = Ring()
    wanted = records(ring, 5)
    await open_all(ring, wanted)
    ring.kms.fail_next(InvalidCiphertext("as if corrupt"))
    ring.clock.advance(0.8 * LEASE)
    assert ring.events.of("unwrap")[-1] == "InvalidCiphertext"
    assert all(ring.keyring.try_opening_key(record) == key for record, key in wanted.items())
    ring.clock.advance(LEASE)
    assert await open_all(ring, wanted) == 1
    ring.advance(3 * LEASE, step=10, use=lambda: ring.use(*wanted))
    assert await open_all(ring, wanted) == 0


async def test_grace_ends_when_the_kms_answers_without_vouching() -> None:
    """Grace is for a KMS that can't be reached; this one is back, and does not vouch."""
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    await ring.open(record)
    ring.kms.down = True
    ring.advance(2 * LEASE, step=10, use=lambda: ring.use(record))
    assert ring.keyring.try_opening_key(record) == key
    ring.kms.fail_next(*[InvalidCiphertext("as if corrupt")] * 3)
    ring.clock.advance(10)
    assert ring.keyring.try_opening_key(record) is None


async def test_each_of_two_leases_is_tried_before_a_record_is_asked_for_alone() -> None:
    first, second = FakeKms(), FakeKms()
    ring = Ring(KeySet(first, (second,)), limits=Limits(lease=LEASE, outage_grace=0))
    wanted = dict(wrapped_by(first, second) for _ in range(20))
    await open_all(ring, wanted)
    first.down = True
    ring.clock.advance(2 * LEASE)
    await open_all(ring, wanted)  # now the second has opened each of them as well
    ring.clock.advance(2 * LEASE)
    before = second.unwraps
    await open_all(ring, wanted)
    assert second.unwraps - before == 1


async def test_an_unavailable_answer_to_one_record_is_no_end_of_a_lease() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    await ring.open(record)
    ring.kms.down = True
    with pytest.raises(KmsUnavailable):
        await ring.open(wrapped_by_while_down(ring), timeout=1.0)
    assert ring.keyring.try_opening_key(record) == key


def wrapped_by_while_down(ring: Ring) -> Record:
    ring.kms.down = False
    record, _ = wrapped_by(ring.kms)
    ring.kms.down = True
    return record


def test_a_denied_lease_is_not_live_even_before_its_keys_are_dropped_and_never_again() -> None:
    clock = ManualClock()
    request = Request("unwrap", 0, "key", ())
    lease = Lease(LeaseName(request, "1", b"", LEASE), Moment.now(clock))

    def live(*, strict: bool = False) -> bool:
        return lease.live(clock.monotonic(), clock.time(), strict=strict)

    lease.succeed(Moment.now(clock))
    lease.miss(GRACE)
    clock.advance(LEASE)
    assert live()
    assert not live(strict=True)
    lease.deny()
    assert lease.ended
    assert not live()
    lease.miss(GRACE)
    assert not live()
    lease.succeed(Moment.now(clock))
    assert not live()


async def test_a_throttled_record_has_no_fresh_lease_renewed() -> None:
    """Each of them is asked for again, and nothing else is asked: the lease is fifteen seconds old at most."""
    ring = Ring()
    await ring.open(wrapped_by(ring.kms)[0])
    before = ring.kms.unwraps
    for _ in range(20):
        record, _ = wrapped_by(ring.kms)
        ring.kms.fail_next(KmsUnavailable("throttled"))
        await ring.open(record)
        ring.clock.advance(0.5)
    assert ring.kms.unwraps - before == 20 + 20


# --- states ---------------------------------------------------------------------------------------------------------

ANSWERED, UNANSWERED, DENIED = LeaseState.ANSWERED, LeaseState.UNANSWERED, LeaseState.DENIED
SENT = Moment(1_000.0, 1_700_000_000.0)


def in_state(state: LeaseState) -> Lease:
    lease = Lease(LeaseName(Request("unwrap", 0, "key", ()), "1", b"", LEASE), SENT)
    turns = {ANSWERED: lambda: None, UNANSWERED: lambda: lease.miss(GRACE), DENIED: lease.deny}
    turns[state]()
    assert lease.state is state
    return lease


@pytest.mark.parametrize(
    ("state", "answer", "after"),
    [
        (ANSWERED, Answer.SUCCESS, ANSWERED),
        (ANSWERED, Answer.CORRUPT, ANSWERED),
        (ANSWERED, Answer.NONE, UNANSWERED),
        (ANSWERED, Answer.DENIAL, DENIED),
        (UNANSWERED, Answer.SUCCESS, ANSWERED),
        (UNANSWERED, Answer.CORRUPT, ANSWERED),
        (UNANSWERED, Answer.NONE, UNANSWERED),
        (UNANSWERED, Answer.DENIAL, DENIED),
        (DENIED, Answer.SUCCESS, DENIED),
        (DENIED, Answer.CORRUPT, DENIED),
        (DENIED, Answer.NONE, DENIED),
        (DENIED, Answer.DENIAL, DENIED),
    ],
)
def test_each_state_and_what_follows_it(state: LeaseState, answer: Answer, after: LeaseState) -> None:
    lease = in_state(state)
    take_note: dict[Answer, Callable[[], None]] = {
        Answer.SUCCESS: lambda: lease.succeed(SENT.after(1.0)),
        Answer.CORRUPT: lease.answer_corrupt,
        Answer.NONE: lambda: lease.miss(GRACE),
        Answer.DENIAL: lease.deny,
    }
    take_note[answer]()
    assert lease.state is after


@pytest.mark.parametrize(
    ("state", "later", "live", "strictly"),
    [
        (ANSWERED, 0.0, True, True),
        (ANSWERED, LEASE - 0.1, True, True),
        (ANSWERED, LEASE, False, False),
        (UNANSWERED, LEASE - 0.1, True, True),
        (UNANSWERED, LEASE, True, False),
        (UNANSWERED, LEASE + GRACE - 0.1, True, False),
        (UNANSWERED, LEASE + GRACE, False, False),
        (DENIED, 0.0, False, False),
    ],
)
def test_when_a_lease_is_live(state: LeaseState, later: float, live: bool, strictly: bool) -> None:
    lease, now = in_state(state), SENT.after(later)
    assert lease.live(*now) is live
    assert lease.live(*now, strict=True) is strictly
    # Whichever clock is first.
    assert not lease.live(now.monotonic, SENT.time + LEASE + GRACE)
    assert not lease.live(SENT.monotonic + LEASE + GRACE, now.time)


def test_grace_is_counted_from_the_last_success_however_often_no_answer_comes() -> None:
    lease = in_state(ANSWERED)
    for _ in range(5):
        lease.miss(GRACE)
    assert lease.failures == 5
    assert not lease.live(*SENT.after(LEASE + GRACE))


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 0.8), (0.5, 0.75), (1.0, 0.7)])
def test_when_a_lease_is_renewed(jitter: float, share: float) -> None:
    lease = in_state(ANSWERED)
    assert lease.renew_at(jitter) == pytest.approx(SENT.monotonic + share * LEASE)
    assert lease.last_look_at == pytest.approx(SENT.monotonic + 0.95 * LEASE)
