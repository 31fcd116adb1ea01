"""Keys for opening: cached within bounds, refused for a while, asked of one recipient after the other."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import traceback
from collections.abc import Mapping

import pytest

from envelope_codec.envelope import Purpose, Recipient, Record, build_record, record_head
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KeyNotConfigured, KmsUnavailable
from envelope_codec.keys.keyset import KeySet
from envelope_codec.kms import Unwrapped, WrappedSecret
from envelope_codec.testing import FakeKms, ManualClock
from tests.support.keyring_on_fakes import LEASE, LIMITS, REFUSAL, Jobs, Ring, corrupted, settle, wrapped_by

TTL = 1_000.0


def small(size: int = 10_000, ttl: float = TTL) -> Ring:
    """A ring whose lease outlasts its cache."""
    return Ring(limits=dataclasses.replace(LIMITS, cache_ttl=ttl, cache_size=size, lease=1e6))


# --- cache --------------------------------------------------------------------------------------------------------


async def test_a_record_is_unwrapped_once_and_then_at_hand() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    assert ring.keyring.try_opening_key(record) is None
    for _ in range(100):
        assert await ring.open(record) == key
    assert ring.kms.unwraps == 1


async def test_a_key_is_kept_for_its_time_to_live_and_no_longer_however_often_it_is_used() -> None:
    ring = small()
    record, key = wrapped_by(ring.kms)
    await ring.open(record)
    ring.advance(TTL - 1, step=1, use=lambda: ring.keyring.try_opening_key(record))
    assert ring.keyring.try_opening_key(record) == key
    assert await ring.keyring.opening_key(record) == key
    ring.clock.advance(1)
    assert ring.keyring.try_opening_key(record) is None
    assert await ring.open(record) == key
    assert ring.kms.unwraps == 2


@pytest.mark.parametrize("size", [1, 5, 40])
async def test_no_more_keys_are_kept_than_the_cache_holds(size: int) -> None:
    ring = small(size)
    wanted = [wrapped_by(ring.kms) for _ in range(100)]
    for record, key in wanted:
        assert await ring.open(record) == key
        assert ring.keyring.try_opening_key(record) == key
        assert ring.kept <= size
    at_hand = [record for record, _ in wanted if ring.keyring.try_opening_key(record) is not None]
    assert len(at_hand) <= size
    assert ring.kms.unwraps == 100


@pytest.mark.slow
async def test_more_keys_than_the_hot_ones_are_served_without_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envelope_codec.keys.opening._HOT_ENTRIES", 1_024)
    ring = small(3_000)
    secrets = [wrapped_by(ring.kms) for _ in range(2_500)]
    for record, _ in secrets:
        await ring.open(record)
    before = ring.kms.unwraps
    for record, key in secrets:
        assert await ring.open(record) == key
    assert ring.kms.unwraps == before
    assert len(ring.keyring._opening._hot) <= 1_024


async def test_two_records_of_one_id_and_different_heads_never_share_a_key() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    assert await ring.open(record) == key
    for head in (
        record_head(record.purpose, record.created + 1, dict(record.context)),
        record_head(Purpose.DATA_KEY, record.created, dict(record.context)),
        record_head(record.purpose, record.created, {**dict(record.context), "tenant": "t"}),
        record_head(record.purpose, record.created, {"temporal-namespace": "other"}),
    ):
        forged = build_record(head, record.id, record.recipients)
        assert ring.keyring.try_opening_key(forged) is None
        with pytest.raises(InvalidCiphertext):
            await ring.open(forged)
        assert ring.keyring.try_opening_key(forged) is None
    assert ring.keyring.try_opening_key(record) == key


async def test_a_record_with_other_recipients_shares_the_key_of_its_twin() -> None:
    """The id commits to the secret: whoever has it needs no other recipient."""
    first, second = FakeKms(), FakeKms()
    ring = Ring(KeySet(first, (second,)))
    secret = os.urandom(32)
    one, key = wrapped_by(first, secret=secret)
    both, _ = wrapped_by(first, second, secret=secret)
    assert await ring.open(one) == key
    assert await ring.open(both) == key
    assert ring.use(both) == [key]
    assert (first.unwraps, second.unwraps) == (1, 0)


async def test_the_wrapped_key_is_not_enough_to_be_served_from_the_cache() -> None:
    ring = Ring()
    record, _ = wrapped_by(ring.kms)
    await ring.open(record)
    other, _ = wrapped_by(ring.kms)
    stolen = build_record(other.head, other.id, record.recipients)
    with pytest.raises(InvalidCiphertext):
        await ring.open(stolen)


class Ticking(ManualClock):
    """Time goes on by itself with each look at the clock, once it has been wound up."""

    tick = 0.0

    def monotonic(self) -> float:
        if self.tick:
            self._move(self._monotonic + self.tick)
        return super().monotonic()


@pytest.mark.parametrize("tick", [0.02, 0.05, 0.08, 0.1, 0.12, 0.15, 0.2, 0.5, 1.0])
async def test_keys_that_expire_while_a_denial_is_dealt_with_do_no_harm(tick: float) -> None:
    clock = Ticking()
    ring = Ring(clock=clock, limits=dataclasses.replace(LIMITS, cache_ttl=100.0))
    for _ in range(20):
        await ring.open(wrapped_by(ring.kms)[0])
    sealing = await ring.seal()
    assert sealing
    ring.kms.denied = True
    clock.advance(95)
    clock.tick = tick
    with pytest.raises(KeyDenied):
        ring.keyring._opening._ask(wrapped_by_denied(ring), b"another")
    clock.tick = 0.0
    assert ring.keyring._sealing._slots.by_scope["default"].current is None
    assert not ring.keyring._opening._hot


def wrapped_by_denied(ring: Ring) -> Record:
    ring.kms.denied = False
    record, _ = wrapped_by(ring.kms)
    ring.kms.denied = True
    return record


# --- refusals -----------------------------------------------------------------------------------------------------


async def test_a_record_that_does_not_open_is_refused_for_a_while_and_then_asked_for_again() -> None:
    ring = Ring()
    bad = corrupted(wrapped_by(ring.kms)[0], 0)
    for _ in range(10):
        with pytest.raises(InvalidCiphertext):
            await ring.open(bad)
    assert ring.kms.unwraps == 1
    await ring.open(wrapped_by(ring.kms)[0])  # others are not
    ring.clock.advance(REFUSAL - 0.001)
    with pytest.raises(InvalidCiphertext):
        await ring.open(bad)
    assert ring.kms.unwraps == 2
    ring.clock.advance(0.001)
    with pytest.raises(InvalidCiphertext):
        await ring.open(bad)
    assert ring.kms.unwraps == 3


async def test_a_refusal_is_of_one_record_as_it_came_and_not_of_its_id() -> None:
    """Else whoever can garble one copy of a record could keep all its payloads from being opened."""
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    with pytest.raises(InvalidCiphertext):
        await ring.open(corrupted(record, 0))
    assert await ring.open(record) == key


async def test_what_was_refused_opens_again_as_soon_as_the_refusal_has_passed() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    ring.kms.denied = True
    for _ in range(3):
        with pytest.raises(KeyDenied):
            await ring.open(record)
    ring.kms.denied = False
    with pytest.raises(KeyDenied):
        await ring.open(record)
    ring.clock.advance(REFUSAL)
    assert await ring.open(record) == key
    assert ring.kms.unwraps == 2


async def test_without_a_refusal_time_every_caller_asks_again() -> None:
    ring = Ring(limits=dataclasses.replace(LIMITS, refusal_ttl=0.0))
    record, key = wrapped_by(ring.kms)
    ring.kms.denied = True
    for _ in range(3):
        with pytest.raises(KeyDenied):
            await ring.open(record)
    assert ring.kms.unwraps == 3
    ring.kms.denied = False
    assert await ring.open(record) == key


async def test_an_outage_is_no_refusal() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    ring.kms.down = True
    with pytest.raises(KmsUnavailable):
        await ring.open(record, timeout=1)
    ring.kms.down = False
    assert await ring.open(record) == key


async def test_each_refused_caller_gets_an_error_of_its_own() -> None:
    ring = Ring()
    bad = corrupted(wrapped_by(ring.kms)[0], 0)
    errors = []
    for _ in range(3):
        with pytest.raises(InvalidCiphertext) as caught:
            await ring.open(bad)
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 3
    lengths = [len(traceback.extract_tb(error.__traceback__)) for error in errors]
    assert lengths[1] == lengths[2]
    assert all((error.__cause__, error.__context__) == (None, None) for error in errors)


async def test_refusals_are_bounded_by_the_size_of_the_cache() -> None:
    ring = small(10)
    for _ in range(100):
        with pytest.raises(InvalidCiphertext):
            await ring.open(corrupted(wrapped_by(ring.kms)[0], 0))
    assert len(ring.keyring._opening._refused) == 10


async def test_refusals_that_have_ended_are_forgotten_a_few_at_a_time() -> None:
    """Any number of them may end in a quiet moment, and event loops wait for the lock."""
    ring = Ring()
    refused = ring.keyring._opening._refused
    for number in range(1_000):
        refused[number.to_bytes(32, "big")] = InvalidCiphertext("no")
    ring.clock.advance(REFUSAL)
    assert refused.get(bytes(32)) is None
    refused[b"next"] = InvalidCiphertext("no")
    assert 900 < len(refused) <= 1_000
    for number in range(20):
        refused[b"%d" % number] = InvalidCiphertext("no")
    assert len(refused) == 21


# --- recipients ---------------------------------------------------------------------------------------------------


async def test_a_corrupt_recipient_is_reported_and_the_next_is_asked() -> None:
    first, second = FakeKms(), FakeKms()
    ring = Ring(KeySet(first, (second,)))
    record, key = wrapped_by(first, second)
    assert await ring.open(corrupted(record, 0)) == key
    assert [(e.operation, e.outcome, e.key_id) for e in ring.events if e.operation != "recall"] == [
        ("unwrap", "InvalidCiphertext", first.key_id),
        ("unwrap", "ok", second.key_id),
    ]


async def test_a_recipient_that_unwraps_to_another_secret_is_corrupt() -> None:
    first, second = FakeKms(), FakeKms()
    ring = Ring(KeySet(first, (second,)))
    record, key = wrapped_by(first, second)
    lie = first.wrap(os.urandom(32), record.kms_context)
    mixed = build_record(
        record.head, record.id, [Recipient(lie.key_id, lie.key_version, lie.ciphertext), record.recipients[1]]
    )
    assert await ring.open(mixed) == key
    assert ring.events.of("unwrap") == ["InvalidCiphertext", "ok"]


async def test_a_recipient_that_is_not_configured_is_skipped_without_a_call() -> None:
    stranger, mine = FakeKms(), FakeKms()
    ring = Ring(mine)
    record, key = wrapped_by(stranger, mine)
    assert await ring.open(record) == key
    assert (stranger.unwraps, mine.unwraps) == (0, 1)
    with pytest.raises(KeyNotConfigured) as caught:
        await ring.open(wrapped_by(stranger)[0])
    assert caught.value.operation == "open"
    assert stranger.unwraps == 0


async def test_a_master_key_opens_only_for_the_namespaces_that_it_is_configured_for() -> None:
    dev, prod = FakeKms("dev"), FakeKms("prod")
    ring = Ring({"dev": KeySet(dev), "prod": KeySet(prod)})
    forged, _ = wrapped_by(dev, namespace="prod")
    with pytest.raises(KeyNotConfigured):
        await ring.open(forged)
    with pytest.raises(KeyNotConfigured):
        await ring.open(wrapped_by(dev, namespace="unknown")[0])
    assert (dev.unwraps, prod.unwraps) == (0, 0)


async def test_key_backup_keys_and_decrypt_keys_all_open() -> None:
    masters = [FakeKms(), FakeKms(), FakeKms()]
    ring = Ring(KeySet(masters[0], (masters[1],), (masters[2],)))
    for master in masters:
        record, key = wrapped_by(master)
        assert await ring.open(record) == key


ANSWERS = {"ok": None, "corrupt": InvalidCiphertext, "denied": KeyDenied, "down": KmsUnavailable, "foreign": None}


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ("ok", "down", None),
        ("down", "ok", None),
        ("denied", "ok", None),
        ("corrupt", "ok", None),
        ("foreign", "ok", None),
        ("down", "denied", KmsUnavailable),
        ("denied", "down", KmsUnavailable),
        ("down", "corrupt", KmsUnavailable),
        ("corrupt", "down", KmsUnavailable),
        ("down", "foreign", KmsUnavailable),
        ("denied", "denied", KeyDenied),
        ("denied", "foreign", KeyDenied),
        ("foreign", "denied", KeyDenied),
        ("denied", "corrupt", KeyDenied),
        ("corrupt", "denied", KeyDenied),
        ("corrupt", "corrupt", InvalidCiphertext),
        ("corrupt", "foreign", InvalidCiphertext),
        ("foreign", "foreign", KeyNotConfigured),
    ],
)
async def test_the_error_that_says_most(first: str, second: str, outcome: type[EnvelopeError] | None) -> None:
    masters = {"first": FakeKms("k1"), "second": FakeKms("k2")}
    record, key = wrapped_by(*masters.values())
    configured = []
    for number, (master, answer) in enumerate(zip(masters.values(), (first, second), strict=True)):
        if answer == "corrupt":
            record = corrupted(record, number)
        if answer != "foreign":
            configured.append(master)
        master.denied, master.down = answer == "denied", answer == "down"
    ring = Ring(KeySet(configured[0], tuple(configured[1:])) if configured else KeySet(FakeKms()))
    if outcome is None:
        assert await ring.open(record, timeout=3) == key
        return
    with pytest.raises(EnvelopeError) as caught:
        await ring.open(record, timeout=3)
    assert type(caught.value) is outcome
    begun = ring.clock.monotonic()
    if outcome is not KmsUnavailable:
        assert begun == ManualClock().monotonic()  # nothing to wait for


class Replica(FakeKms):
    """As one of a multi-Region key: it opens what any of its replicas wrapped."""

    def __init__(self, key_id: str, *others: FakeKms) -> None:
        super().__init__(key_id)
        self.others = others
        for other in others:
            self._versions = other._versions

    def accepts(self, key_id: str) -> bool:
        return key_id in {self.key_id, *(other.key_id for other in self.others)}


@pytest.mark.parametrize("fault", ["down", "denied"])
async def test_each_master_key_that_opens_a_key_id_is_asked_its_own_first(fault: str) -> None:
    here = FakeKms("here")
    there = Replica("there", here)
    ring = Ring(KeySet(there, decrypt_keys=(here,)))
    record, key = wrapped_by(here)
    assert await ring.open(record) == key
    assert (here.unwraps, there.unwraps) == (1, 0)
    setattr(here, fault, True)
    other, other_key = wrapped_by_while(here, fault)
    assert await ring.open(other) == other_key
    assert there.unwraps >= 1


def wrapped_by_while(kms: FakeKms, fault: str) -> tuple[Record, bytes]:
    setattr(kms, fault, False)
    made = wrapped_by(kms)
    setattr(kms, fault, True)
    return made


async def test_what_is_opened_for_a_namespace_need_not_be_sealed_for_it() -> None:
    old, new = FakeKms(), FakeKms()
    ring = Ring({"new": KeySet(new)}, opening_key_sets={"new": KeySet(new), "old": KeySet(old)}.get)
    record, key = wrapped_by(old, namespace="old")
    assert await ring.open(record) == key
    with pytest.raises(KeyNotConfigured):
        await ring.seal("old")


# --- what providers may do amiss ----------------------------------------------------------------------------------


class Unsure(FakeKms):
    """Can't tell whether a key id is one of its own."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error: BaseException | None = error

    def accepts(self, key_id: str) -> bool:
        if self.error is not None:
            raise self.error
        return super().accepts(key_id)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KmsUnavailable("as an alias that can't be looked up"), KmsUnavailable),
        (KeyDenied("as an alias that may not be looked up"), KeyDenied),
        (ValueError("https://host/key"), KmsUnavailable),
        (SystemExit("https://host/key"), KmsUnavailable),
    ],
)
async def test_a_master_key_that_can_not_tell_stands_in_no_other_s_way(
    error: BaseException, told: type[EnvelopeError], caplog: pytest.LogCaptureFixture
) -> None:
    unsure, sure = Unsure(error), FakeKms()
    ring = Ring(KeySet(unsure, (sure,)))
    record, key = wrapped_by(sure)
    assert await ring.open(record) == key
    with pytest.raises(EnvelopeError) as caught:
        await ring.open(wrapped_by(FakeKms())[0], timeout=2)
    assert type(caught.value) is told
    assert "https" not in "".join(traceback.format_exception(caught.value))
    if not isinstance(error, EnvelopeError):
        assert unsure.key_id in caplog.text
    unsure.error = None
    ring.clock.advance(REFUSAL)
    record, key = wrapped_by(unsure)
    assert await ring.open(record) == key


class Returning(FakeKms):
    def __init__(self, secret: object) -> None:
        super().__init__()
        self.secret = secret

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        super().unwrap(wrapped, context)
        return self.secret  # type: ignore[return-value]


AMISS = [None, b"", b"short", bytes(32), bytes(33), "x" * 32, 32, object(), [0] * 32]


@pytest.mark.parametrize("amiss", AMISS, ids=[type(a).__name__ + str(n) for n, a in enumerate(AMISS)])
async def test_whatever_a_provider_returns_the_error_is_ours_and_the_next_is_asked(amiss: object) -> None:
    bad, good = Returning(amiss), FakeKms()
    ring = Ring(KeySet(bad, (good,)))
    with pytest.raises((InvalidCiphertext, KmsUnavailable)) as caught:
        await ring.open(wrapped_by(bad)[0], timeout=3)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert not ring.keyring._calls._flying
    assert not ring.keyring._opening._flights
    record, key = wrapped_by(bad, good)
    assert await ring.open(record) == key


async def test_a_secret_in_another_type_of_bytes_is_taken() -> None:
    class Lenient(FakeKms):
        def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
            unwrapped = super().unwrap(wrapped, context)
            return Unwrapped(bytearray(unwrapped.secret), unwrapped.version)  # type: ignore[arg-type]

    kms = Lenient()
    record, key = wrapped_by(kms)
    assert await Ring(kms).open(record) == key


@pytest.mark.parametrize("error", [ValueError("https://host/key"), asyncio.CancelledError(), SystemExit(1)])
async def test_an_unexpected_exception_of_a_provider_is_an_outage_with_its_key_id_in_the_log(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    ring.kms.fail_next(*[error] * 1_000)
    with pytest.raises(KmsUnavailable) as caught:
        await ring.open(record, timeout=10)
    assert "https" not in "".join(traceback.format_exception(caught.value))
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert caught.value.key_id == ring.kms.key_id
    assert ring.kms.key_id in caplog.text
    ring.kms._failures.clear()
    assert await ring.open(record) == key


async def test_an_unexpected_exception_of_one_provider_leaves_the_next_to_be_asked() -> None:
    first, second = FakeKms(), FakeKms()
    ring = Ring(KeySet(first, (second,)))
    record, key = wrapped_by(first, second)
    first.fail_next(asyncio.CancelledError("not of any task"))
    assert await ring.open(record) == key


# --- flights ------------------------------------------------------------------------------------------------------


async def test_callers_that_want_the_same_record_share_a_call_and_others_do_not() -> None:
    jobs = Jobs()
    ring = Ring(spawn=jobs)
    one, two = wrapped_by(ring.kms), wrapped_by(ring.kms)
    waiting = [asyncio.ensure_future(ring.keyring.opening_key(r)) for r, _ in [one, two] * 50]
    await settle()
    assert jobs.run() == 2
    assert await asyncio.gather(*waiting) == [one[1], two[1]] * 50
    assert not ring.keyring._opening._flights


async def test_two_failures_are_sat_out_by_all_who_wait() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    ring.kms.fail_next(KmsUnavailable("1"), KmsUnavailable("2"))
    waiting = [asyncio.ensure_future(ring.keyring.opening_key(record)) for _ in range(100)]
    await settle()
    ring.clock.advance(1)
    assert await asyncio.gather(*waiting) == [key] * 100
    assert ring.kms.unwraps == 3


async def test_no_flight_is_left_behind_whatever_its_outcome() -> None:
    ring = Ring()
    await ring.open(wrapped_by(ring.kms)[0])
    with pytest.raises(InvalidCiphertext):
        await ring.open(corrupted(wrapped_by(ring.kms)[0], 0))
    with pytest.raises(KeyNotConfigured):
        await ring.open(wrapped_by(FakeKms())[0])
    ring.kms.denied = True
    with pytest.raises(KeyDenied):
        await ring.open(wrapped_by_denied(ring))
    ring.kms.denied, ring.kms.down = False, True
    with pytest.raises(KmsUnavailable):
        await ring.open(wrapped_by_while_down(ring), timeout=1)
    assert not ring.keyring._opening._flights
    assert not ring.keyring._calls._flying


def wrapped_by_while_down(ring: Ring) -> Record:
    ring.kms.down = False
    record, _ = wrapped_by(ring.kms)
    ring.kms.down = True
    return record


@pytest.mark.slow
async def test_after_an_outage_the_first_record_that_opens_brings_back_all_that_wait() -> None:
    """Not one call for each of them, at the very moment at which the KMS comes back."""
    jobs = Jobs()
    ring = Ring(spawn=jobs, limits=dataclasses.replace(LIMITS, outage_grace=0.0))
    wanted = dict(wrapped_by(ring.kms) for _ in range(200))
    first = [asyncio.ensure_future(ring.keyring.opening_key(record)) for record in wanted]
    await settle()
    jobs.run()
    await asyncio.gather(*first)
    ring.kms.down = True
    ring.clock.advance(2 * LEASE)
    jobs.run()
    waiting = [asyncio.ensure_future(ring.keyring.opening_key(record, timeout=600)) for record in wanted]
    for _ in range(60):
        await settle()
        ring.clock.advance(1)
        jobs.run()
    assert not any(task.done() for task in waiting)
    ring.kms.down = False
    before = ring.kms.unwraps
    for _ in range(12):
        await settle()
        ring.clock.advance(1)
        jobs.run()
    assert await asyncio.gather(*waiting) == list(wanted.values())
    assert ring.kms.unwraps - before == 1


# --- direct mode --------------------------------------------------------------------------------------------------


async def test_a_data_key_is_opened_once_within_its_lease() -> None:
    ring = Ring(direct=True)
    record, key = wrapped_by(ring.kms, purpose=Purpose.DATA_KEY)
    for _ in range(5):
        assert await ring.open(record) == key
    assert ring.kms.unwraps == 1
