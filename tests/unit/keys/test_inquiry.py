"""Which recipients count for an envelope, its key at hand or not, and how often a master key is asked for a record."""

from __future__ import annotations

import threading

import pytest

from envelope_codec.envelope import MAX_RECIPIENTS, Recipient, Record, build_record
from envelope_codec.errors import InvalidCiphertext, KeyDenied, KeyNotConfigured, KmsUnavailable
from envelope_codec.keys.keyring import Keyring
from envelope_codec.keys.keyset import KeySet
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import GRACE, LEASE, REFUSAL, Ring, corrupted, key_sets, wrapped_by


class Generous(FakeKms):
    """Accepts several key ids, as an alias does, and replicas of one key. Notes who asks whether it does."""

    def __init__(self, key_id: str | None = None) -> None:
        super().__init__(key_id)
        self.prefix = "fakekms://replica"
        self.threads: list[threading.Thread] = []

    def accepts(self, key_id: str) -> bool:
        self.threads.append(threading.current_thread())
        return key_id == self.key_id or key_id.startswith(self.prefix)


def naming(record: Record, *key_ids: str) -> Record:
    """The record with these key ids, for each the ciphertext of its first recipient."""
    first = record.recipients[0]
    return build_record(
        record.head, record.id, [Recipient(key_id, first.key_version, first.ciphertext) for key_id in key_ids]
    )


REPLICAS = [f"fakekms://replica-{number}" for number in range(MAX_RECIPIENTS)]


# --- with the key at hand --------------------------------------------------------------------------------------------


async def test_an_envelope_that_names_no_configured_key_is_refused_although_its_key_is_at_hand() -> None:
    ring = Ring()
    record, key = wrapped_by(ring.kms)
    await ring.open(record)
    foreign = naming(record, "fakekms://foreign", "fakekms://another")
    for _ in range(2):
        assert ring.keyring.try_opening_key(foreign) is None
        with pytest.raises(KeyNotConfigured):
            await ring.open(foreign)
    both = naming(record, "fakekms://foreign", ring.kms.key_id)
    assert await ring.open(both) == key
    assert ring.use(both, record, foreign) == [key, key, None]
    assert ring.kms.unwraps == 1


async def test_another_spelling_is_compared_once_and_never_on_the_event_loop() -> None:
    """A master key may ask its KMS whether it accepts a key id."""
    kms = Generous()
    keyring = Keyring(key_sets(kms))
    record, key = wrapped_by(kms)
    assert await keyring.opening_key(record) == key
    other = naming(record, REPLICAS[0])
    assert keyring.try_opening_key(other) is None
    assert await keyring.opening_key(other) == key
    asked = len(kms.threads)
    again = build_record(other.head, other.id, other.recipients)
    assert [keyring.try_opening_key(one) for one in (other, again, record)] == [key] * 3
    assert len(kms.threads) == asked
    assert threading.main_thread() not in kms.threads
    assert kms.unwraps == 1
    keyring.close()


async def test_what_one_keyring_allows_another_in_the_process_does_not() -> None:
    """They share parsed records."""
    kms, foreign = FakeKms("fakekms://key"), FakeKms("fakekms://foreign")
    mine, theirs = Ring(KeySet(kms, decrypt_keys=(foreign,))), Ring(kms)
    record, key = wrapped_by(kms)
    for ring in (mine, theirs):
        await ring.open(record)
    other = naming(record, foreign.key_id)
    assert await mine.open(other) == key
    assert mine.use(other) == [key]
    assert theirs.use(other) == [None]
    with pytest.raises(KeyNotConfigured):
        await theirs.open(other)


async def test_any_number_of_spellings_leave_the_first_at_hand() -> None:
    kms = Generous()
    ring = Ring(kms)
    record, key = wrapped_by(kms)
    await ring.open(record)
    for number in range(200):
        await ring.open(naming(record, f"fakekms://replica-{number}"))
    assert ring.use(record) == [key]
    assert len(ring.kept_key(record)._spellings) <= 64


async def test_a_master_key_that_can_not_say_whether_it_accepts_a_spelling_is_no_refusal() -> None:
    class Unsure(FakeKms):
        def accepts(self, key_id: str) -> bool:
            if key_id != self.key_id:
                raise KmsUnavailable("the alias could not be looked up")
            return True

    kms = Unsure()
    ring = Ring(kms)
    record, _ = wrapped_by(kms)
    await ring.open(record)
    with pytest.raises(KmsUnavailable):
        await ring.open(naming(record, "fakekms://whose"), timeout=1)


# --- once for a record -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [KeyDenied("no"), InvalidCiphertext("no")])
async def test_a_master_key_is_asked_once_for_a_record_that_names_it_eight_times(fault: KeyDenied) -> None:
    kms = Generous()
    ring = Ring(kms)
    record, key = wrapped_by(kms)
    hostile = naming(record, *REPLICAS)
    kms.fail_next(*[fault] * 8)
    with pytest.raises(type(fault)):
        await ring.open(hostile)
    assert kms.unwraps == 1
    kms._failures.clear()
    ring.clock.advance(REFUSAL)
    assert await ring.open(hostile) == key


async def test_a_refused_record_costs_two_calls_at_most() -> None:
    kms = Generous()
    ring = Ring(kms)
    for name in ("fakekms://key", *REPLICAS):
        record, _ = wrapped_by(kms)
        await ring.open(naming(record, name) if name in REPLICAS else record)
    before = kms.unwraps
    hostile = naming(wrapped_by(kms)[0], *REPLICAS)
    kms.fail_next(KeyDenied("this record"))
    with pytest.raises(KeyDenied):
        await ring.open(hostile)
    assert kms.unwraps - before == 2


async def test_a_master_key_that_is_named_is_asked_for_its_own_recipient() -> None:
    """A master key that accepts another's key id as well, as a replica does, does not waste its one call on that."""
    one, other = Generous("fakekms://replica-1"), Generous("fakekms://replica-2")
    ring = Ring(KeySet(one, (other,)))
    record, key = wrapped_by(one, other)
    assert await ring.open(corrupted(record, 0)) == key
    assert (one.unwraps, other.unwraps) == (1, 1)


@pytest.mark.parametrize("unreachable", [False, True])
async def test_master_keys_that_accept_the_same_key_ids_are_not_all_spent_on_one_recipient(unreachable: bool) -> None:
    """Two aliases with ``decrypt_accounts`` accept each other's keys, and one of these keys is gone."""
    gone, left = FakeKms("fakekms://replica-1"), FakeKms("fakekms://replica-2")
    one, other = Generous("fakekms://alias-1"), Generous("fakekms://alias-2")
    one._versions = other._versions = left._versions
    ring = Ring(KeySet(one, (other,)))
    record, key = wrapped_by(gone, left)
    if unreachable:
        one.down = other.down = True
        with pytest.raises(KmsUnavailable):
            await ring.open(record, timeout=1)
        one.down = other.down = False
    asked = one.unwraps + other.unwraps
    assert await ring.open(record) == key
    assert one.unwraps + other.unwraps - asked == 2


async def test_a_master_key_that_refused_a_record_is_not_asked_at_each_retry_of_another() -> None:
    first, second, third = FakeKms(), FakeKms(), FakeKms()
    ring = Ring(KeySet(first, (second, third)))
    record, _ = wrapped_by(first, second, third)
    first.denied = second.down = True
    third.fail_next(*[InvalidCiphertext("no")] * 100)
    with pytest.raises(KmsUnavailable):
        await ring.open(record, timeout=60)
    assert second.unwraps > 12
    assert third.unwraps == 1
    assert 2 <= first.unwraps <= 1 + 60 / REFUSAL


async def test_in_an_outage_a_key_at_hand_serves_other_spellings_as_well() -> None:
    kms = Generous()
    ring = Ring(kms)
    record, key = wrapped_by(kms)
    await ring.open(record)
    kms.down = True
    ring.advance(LEASE + GRACE / 2, step=20, use=lambda: ring.use(record))
    assert await ring.open(naming(record, *REPLICAS)) == key
