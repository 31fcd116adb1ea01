"""Opening with a keystore: its recipients serve where the envelope's own do not, and under the same rules."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from typing import Any

import pytest

from envelope_codec.envelope import MAX_RECIPIENTS, Purpose, Recipient, Record, build_record, record_head
from envelope_codec.errors import InvalidCiphertext, KeyDenied, KeyNotConfigured, KmsUnavailable
from envelope_codec.keys import lookups
from envelope_codec.keys.draft import Draft
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keystore_row import row_key
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import GRACE, LEASE, REFUSAL, Jobs, Ring, corrupted, settle, wrapped_by
from tests.support.rows_on_fake import FakeRows, row_of


class Moved:
    """A record under an old master key, with a row in a keystore that has the new one's recipient.

    Args:
        configured: how many of the two the reader has: "new", or "both".
    """

    def __init__(self, configured: str = "new", **more: Any) -> None:
        self.old, self.new = FakeKms("fakekms://old"), FakeKms("fakekms://new")
        self.rows = FakeRows()
        self.record, other, self.key = twice_wrapped(self.old, self.new)
        self.row = row_of(self.record, *self.record.recipients, *other.recipients)
        self.rows.keep(self.row)
        keys = KeySet(self.new, decrypt_keys=(self.old,) if configured == "both" else ())
        self.ring = Ring(keys, keystore=self.rows, **more)

    @property
    def lookups(self) -> int:
        return self.rows.keystore.gets

    @property
    def unwraps(self) -> tuple[int, int]:
        """Calls of the old master key, and of the new one."""
        return self.old.unwraps, self.new.unwraps


def twice_wrapped(old: FakeKms, new: FakeKms, namespace: str = "default") -> tuple[Record, Record, bytes]:
    """One record with the old master key's recipient, the same with the new one's, and the key."""
    draft = Draft(Purpose.WRAPPING_KEY, 1_700_000_000, {"temporal-namespace": namespace})
    return draft.wrap_by(old), draft.wrap_by(new), draft.key


def fail(operation: str) -> None:
    """Fail as no keystore may."""
    raise ZeroDivisionError("words of a client library")


def spelled(record: Record, *key_ids: str) -> Record:
    """The record with made-up recipients of these key ids."""
    return build_record(record.head, record.id, [Recipient(key_id, "1", b"made up") for key_id in key_ids])


# --- which recipients serve -------------------------------------------------------------------------------------------


async def test_a_record_whose_own_master_key_is_not_configured_opens_with_its_row() -> None:
    moved = Moved()
    assert await moved.ring.open(moved.record) == moved.key
    assert moved.unwraps == (0, 1)
    assert moved.lookups == 1


async def test_what_its_own_recipients_open_is_never_looked_up() -> None:
    moved = Moved("both")
    for _ in range(3):
        assert await moved.ring.open(moved.record) == moved.key
    assert moved.unwraps == (1, 0)
    assert moved.lookups == 0


async def test_a_key_at_hand_costs_no_lookup() -> None:
    moved = Moved()
    for _ in range(100):
        assert await moved.ring.open(moved.record) == moved.key
    assert (moved.lookups, moved.new.unwraps) == (1, 1)


@pytest.mark.parametrize("fault", ["denied", "down", "corrupt"])
async def test_the_row_serves_where_the_envelopes_own_recipient_does_not(fault: str) -> None:
    moved = Moved("both")
    record = moved.record
    if fault == "corrupt":
        record = corrupted(record, 0)
    else:
        setattr(moved.old, fault, True)
    assert await moved.ring.open(record, timeout=60) == moved.key
    assert moved.new.unwraps == 1


async def test_a_row_serves_under_the_keys_of_the_records_own_namespace_only() -> None:
    old, new, dev = FakeKms("fakekms://old"), FakeKms("fakekms://new"), FakeKms("fakekms://dev")
    rows = FakeRows()
    record, other, _ = twice_wrapped(old, dev, "prod")
    rows.keep(row_of(record, *other.recipients))
    ring = Ring({"prod": KeySet(new), "dev": KeySet(dev)}, keystore=rows)
    with pytest.raises(KeyNotConfigured):
        await ring.open(record)
    assert dev.unwraps == 0


async def test_nothing_is_looked_up_for_a_namespace_without_keys() -> None:
    moved = Moved()
    ring = Ring({"other": KeySet(moved.new)}, keystore=moved.rows)
    with pytest.raises(KeyNotConfigured):
        await ring.open(moved.record)
    assert moved.lookups == 0


async def test_a_data_key_is_never_looked_up() -> None:
    moved = Moved()
    record, _ = wrapped_by(moved.old, purpose=Purpose.DATA_KEY)
    with pytest.raises(KeyNotConfigured):
        await moved.ring.open(record)
    assert moved.lookups == 0


async def test_a_shared_wrapping_key_is_looked_up() -> None:
    moved = Moved()
    draft = Draft(Purpose.SHARED_WRAPPING_KEY, 1_700_000_000, {"temporal-namespace": "default"})
    record = draft.wrap_by(moved.old)
    moved.rows.keep(row_of(record, *draft.wrap_by(moved.new).recipients))
    assert await moved.ring.open(record) == draft.key


async def test_verified_recipients_are_asked_before_imported_ones() -> None:
    moved = Moved()
    third = FakeKms("fakekms://third")
    moved.rows.keep(
        row_of(moved.record, *moved.row.verified[1:], imported=(Recipient(third.key_id, "1", b"imported"),))
    )
    ring = Ring(KeySet(third, decrypt_keys=(moved.new,)), keystore=moved.rows)
    assert await ring.open(moved.record) == moved.key
    assert third.unwraps == 0


async def test_an_imported_recipient_serves_as_well() -> None:
    moved = Moved()
    moved.rows.keep(row_of(moved.record, imported=moved.row.verified[1:]))
    assert await moved.ring.open(moved.record) == moved.key


# --- how often they are asked -----------------------------------------------------------------------------------------


async def test_a_master_key_is_asked_once_for_the_envelope_and_its_row_together() -> None:
    moved = Moved("both")
    moved.old.denied = moved.new.denied = True
    with pytest.raises(KeyDenied):
        await moved.ring.open(moved.record)
    assert moved.unwraps == (1, 1)


async def test_what_the_envelope_made_up_is_not_made_good_by_another_call_of_that_master_key() -> None:
    moved = Moved("both")
    made_up = corrupted(moved.record, 0)
    moved.rows.keep(row_of(moved.record, *moved.record.recipients))
    with pytest.raises(InvalidCiphertext):
        await moved.ring.open(made_up)
    assert moved.old.unwraps == 1


async def test_a_row_has_the_same_master_keys_next_version_asked_as_well() -> None:
    """Else a version of a master key could never be retired."""
    kms, rows = FakeKms("fakekms://key"), FakeRows()
    draft = Draft(Purpose.WRAPPING_KEY, 1_700_000_000, {"temporal-namespace": "default"})
    record = draft.wrap_by(kms)
    kms.rotate()
    rows.keep(row_of(record, *draft.wrap_by(kms).recipients))
    kms._versions.pop("1")
    ring = Ring(kms, keystore=rows)
    assert await ring.open(record) == draft.key
    assert kms.unwraps == 2


async def test_a_master_key_that_gave_no_answer_is_not_asked_for_the_next_version_at_once() -> None:
    kms, other, jobs = FakeKms("fakekms://key"), FakeKms("fakekms://other"), Jobs()
    rows = FakeRows()
    record, _ = wrapped_by(kms)
    blocked, _ = wrapped_by(other)
    rows.keep(row_of(record, Recipient(kms.key_id, "2", b"another version"), Recipient(other.key_id, "1", b"x")))
    ring = Ring(KeySet(kms, decrypt_keys=(other,)), keystore=rows, spawn=jobs)
    kms.down = other.down = True
    for number, one in enumerate((blocked, record)):  # the first attempt learns that the other one is out of reach
        task = asyncio.ensure_future(ring.keyring.opening_key(one))
        await settle()
        assert jobs.run_one()
        assert (kms.unwraps, other.unwraps) == (number, number + 1)
        task.cancel()


async def test_no_record_costs_more_than_eight_calls() -> None:
    masters = [FakeKms(f"fakekms://key-{number}") for number in range(20)]
    for master in masters:
        master.denied = True
    rows = FakeRows()
    record, _ = wrapped_by(FakeKms("fakekms://unknown"))
    made_up = [Recipient(master.key_id, "1", b"made up") for master in masters]
    own = build_record(record.head, record.id, made_up[16:18])
    rows.keep(row_of(own, *made_up[:8], imported=tuple(made_up[8:16])))
    ring = Ring(KeySet(masters[0], decrypt_keys=tuple(masters[1:])), keystore=rows)
    with pytest.raises(KeyDenied):
        await ring.open(own)
    assert sum(master.unwraps for master in masters) == MAX_RECIPIENTS
    assert [master.unwraps for master in masters[:6]] == [1] * 6


def nine(rows: FakeRows) -> tuple[list[FakeKms], Record, bytes]:
    """Nine master keys, a record that names eight of them, which refuse, and the key, which the row's ninth yields."""
    masters = [FakeKms(f"fakekms://key-{number}") for number in range(9)]
    draft = Draft(Purpose.WRAPPING_KEY, 1_700_000_000, {"temporal-namespace": "default"})
    record = draft.record([draft.wrap_by(master).recipients[0] for master in masters[:8]])
    rows.keep(row_of(record, *draft.wrap_by(masters[8]).recipients))
    for master in masters[:8]:
        master.denied = True
    return masters, record, draft.key


async def test_eight_recipients_that_all_refuse_leave_no_call_for_the_row_and_the_log_says_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = FakeRows()
    masters, record, key = nine(rows)
    with pytest.raises(KeyDenied):
        await Ring(KeySet(masters[8], decrypt_keys=tuple(masters[:8])), keystore=rows).open(record)
    assert [master.unwraps for master in masters] == [1] * 8 + [0]
    assert caplog.text.count("take master keys that are gone out of the configuration") == 1
    assert record.id.hex() in caplog.text
    assert await Ring(KeySet(masters[8], decrypt_keys=tuple(masters[1:8])), keystore=rows).open(record) == key


@pytest.mark.parametrize("configured", ["new", "both"])
async def test_a_record_without_a_row_that_nothing_opens_is_logged_with_its_master_key_and_what_to_do(
    configured: str, caplog: pytest.LogCaptureFixture
) -> None:
    moved = Moved(configured)
    moved.old.denied = True
    moved.rows.keystore.kept.clear()
    for _ in range(2):  # the second caller is told what is remembered
        with pytest.raises((KeyDenied, KeyNotConfigured)):
            await moved.ring.open(moved.record)
    lines = [line for line in caplog.messages if "has no row of the record" in line]
    assert len(lines) == 1
    assert moved.record.id.hex() in lines[0]
    assert moved.old.key_id in lines[0]
    assert lines[0].endswith("(docs/rekeying.md)")


async def test_a_record_that_opens_or_whose_keystore_is_out_is_not_said_to_have_no_row(
    caplog: pytest.LogCaptureFixture,
) -> None:
    moved = Moved()
    assert await moved.ring.open(moved.record) == moved.key
    moved.ring.clock.advance(2 * REFUSAL)
    out = Moved()
    out.rows.keystore.before_call = fail
    with pytest.raises(KmsUnavailable):
        await out.ring.open(out.record)
    assert "has no row" not in caplog.text


async def test_a_refusal_that_is_remembered_takes_no_call_from_the_row() -> None:
    rows = FakeRows()
    masters, record, key = nine(rows)
    ring = Ring(KeySet(masters[8], decrypt_keys=tuple(masters[:8])), keystore=rows)
    last = masters[7]

    def fail_once(operation: str) -> None:
        """Fail, and answer another caller before the next attempt."""
        last.before_call = lambda operation: None
        ring.clock.call_later(0.001, lambda: ring.keyring._calls.call("unwrap", last, "default", lambda: None))
        raise KmsUnavailable("no answer")

    last.before_call = fail_once
    assert await ring.open(record) == key
    assert [master.unwraps for master in masters] == [1] * 7 + [2, 1]


async def test_eight_recipients_without_a_row_to_reach_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    masters, record, _ = nine(FakeRows())
    with pytest.raises(KeyDenied):
        await Ring(KeySet(masters[8], decrypt_keys=tuple(masters[:8]))).open(record)
    assert "passed over" not in caplog.text


async def test_a_master_key_that_gave_no_answer_is_not_asked_for_the_next_version_though_it_has_answered_others() -> (
    None
):
    """It is asked at the next attempt, for the envelope's own recipient first."""
    kms, other, rows = FakeKms("fakekms://key"), FakeKms("fakekms://other"), FakeRows()
    draft = Draft(Purpose.WRAPPING_KEY, 1_700_000_000, {"temporal-namespace": "default"})
    record = draft.wrap_by(kms)
    renewed = Recipient(kms.key_id, "2", record.recipients[0].ciphertext)
    rows.keep(row_of(record, renewed, *draft.wrap_by(other).recipients))
    ring = Ring(KeySet(kms, decrypt_keys=(other,)), keystore=rows)
    kms.down = True

    def answer_another(operation: str) -> None:
        kms.down = False
        ring.keyring._calls.call("unwrap", kms, "default", lambda: None)

    rows.keystore.before_call = answer_another
    assert await ring.open(record) == draft.key
    assert (kms.unwraps, other.unwraps) == (1, 1)


async def test_a_master_key_that_is_known_to_be_out_of_reach_is_asked_after_the_row() -> None:
    moved = Moved("both")
    other, _ = wrapped_by(moved.old)
    moved.old.down = True
    with pytest.raises(KmsUnavailable):
        await moved.ring.open(other, timeout=1)
    calls = moved.old.unwraps
    assert await moved.ring.open(moved.record) == moved.key
    assert moved.new.unwraps == 1
    assert moved.old.unwraps - calls <= 1  # a probe in the background


async def test_a_row_is_looked_up_although_the_only_master_key_left_is_known_to_be_out_of_reach() -> None:
    moved = Moved()
    other, _ = wrapped_by(moved.new)
    moved.new.down = True
    with pytest.raises(KmsUnavailable):
        await moved.ring.open(other, timeout=1)
    with pytest.raises(KmsUnavailable):
        await moved.ring.open(moved.record, timeout=1)
    moved.new.down = False
    assert await moved.ring.open(moved.record, timeout=60) == moved.key


async def test_where_no_other_master_key_could_serve_an_outage_costs_no_lookup() -> None:
    kms, rows = FakeKms(), FakeRows()
    ring = Ring(kms, keystore=rows)
    records = [wrapped_by(kms)[0] for _ in range(3)]
    kms.down = True
    for record in records:
        with pytest.raises(KmsUnavailable):
            await ring.open(record, timeout=1)
    assert rows.keystore.gets == 0


# --- which error decides ----------------------------------------------------------------------------------------------


async def test_without_a_row_it_is_the_error_of_the_envelope_itself() -> None:
    moved = Moved("both")
    moved.rows.keystore.kept.clear()
    with pytest.raises(KeyNotConfigured):
        await Ring(moved.new, keystore=moved.rows).open(moved.record)
    moved.old.denied = True
    with pytest.raises(KeyDenied):
        await moved.ring.open(moved.record)
    with pytest.raises(InvalidCiphertext):
        await Ring(KeySet(moved.new, decrypt_keys=(FakeKms("fakekms://old"),)), keystore=moved.rows).open(moved.record)


async def test_an_outage_of_a_master_key_in_the_row_wins_over_a_refusal_of_the_envelopes_own() -> None:
    moved = Moved("both")
    moved.old.denied, moved.new.down = True, True
    with pytest.raises(KmsUnavailable):
        await moved.ring.open(moved.record, timeout=1)
    moved.new.down = False
    moved.ring.clock.advance(60)
    assert await moved.ring.open(moved.record) == moved.key


async def test_a_corrupt_recipient_in_the_row_is_invalid_ciphertext() -> None:
    moved = Moved()
    moved.rows.keep(row_of(moved.record, dataclasses.replace(moved.row.verified[1], ciphertext=b"x" * 40)))
    with pytest.raises(InvalidCiphertext):
        await moved.ring.open(moved.record)


async def test_a_recipient_of_another_secret_is_corrupt() -> None:
    """Whoever may write to the keystore and encrypt can make nothing wrong open."""
    moved = Moved()
    foreign, _ = wrapped_by(moved.new)
    moved.rows.keep(row_of(moved.record, *foreign.recipients))
    with pytest.raises(InvalidCiphertext):
        await moved.ring.open(moved.record)


@pytest.mark.parametrize("fault", ["down", "refuses", "broken"])
async def test_a_keystore_that_gives_no_answer_is_retried(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    moved = Moved()
    keystore = moved.rows.keystore
    if fault == "broken":
        keystore.before_call = fail
    elif fault == "down":
        keystore.down = True
    else:
        keystore.refuses.add("get")
    with pytest.raises(KmsUnavailable, match="the keystore") as caught:
        await moved.ring.open(moved.record, timeout=10)
    assert caught.value.retryable
    assert moved.new.unwraps == 0
    keystore.down = False
    keystore.refuses.clear()
    keystore.before_call = lambda operation: None
    assert await moved.ring.open(moved.record, timeout=60) == moved.key
    assert "ok" not in moved.ring.events.of("lookup")[:-1]
    assert fault != "broken" or "failed unexpectedly" in caplog.text


async def test_an_outage_of_the_envelopes_own_master_key_is_told_rather_than_the_keystores() -> None:
    moved = Moved("both")
    moved.old.down = moved.rows.keystore.down = True
    with pytest.raises(KmsUnavailable, match="the KMS did not answer"):
        await moved.ring.open(moved.record, timeout=1)


async def test_an_outage_of_the_keystore_wins_over_a_refusal() -> None:
    moved = Moved("both")
    moved.old.denied = moved.rows.keystore.down = True
    with pytest.raises(KmsUnavailable, match="the keystore"):
        await moved.ring.open(moved.record, timeout=1)


async def test_a_keystore_that_is_down_is_not_asked_for_each_record() -> None:
    moved = Moved()
    moved.rows.keystore.down = True
    for _ in range(50):
        with pytest.raises(KmsUnavailable):
            await moved.ring.keyring.opening_key(wrapped_by(moved.old)[0], timeout=0)
    assert moved.lookups == 1


# --- rows that are none -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x02" * 200, b"\x00" * 70_000])
async def test_a_row_that_is_none_is_absent_and_counted(data: bytes) -> None:
    moved = Moved()
    moved.rows.keystore.kept[row_key(moved.record)] = data, "planted"
    with pytest.raises(KeyNotConfigured):
        await moved.ring.open(moved.record)
    assert moved.ring.events.of("lookup") == ["ok", "MalformedRow"]


async def test_a_row_with_another_head_under_the_records_key_is_absent() -> None:
    moved = Moved()
    head = record_head(Purpose.WRAPPING_KEY, 1_700_000_001, {"temporal-namespace": "default"})
    planted = dataclasses.replace(moved.row, head=head, created=1_700_000_001)
    moved.rows.keep(planted, row_key(moved.record))
    with pytest.raises(KeyNotConfigured):
        await moved.ring.open(moved.record)
    assert "MalformedRow" in moved.ring.events.of("lookup")


async def test_a_planted_row_with_another_head_does_not_block_the_genuine_one() -> None:
    moved = Moved()
    head = record_head(Purpose.WRAPPING_KEY, 1_700_000_001, {"temporal-namespace": "default"})
    moved.rows.keep(dataclasses.replace(moved.row, head=head, created=1_700_000_001))
    assert await moved.ring.open(moved.record) == moved.key


# --- cold and warm ----------------------------------------------------------------------------------------------------


async def test_another_spelling_of_a_cached_record_is_allowed_by_its_row() -> None:
    moved = Moved()
    assert await moved.ring.open(moved.record) == moved.key
    other = spelled(moved.record, "fakekms://foreign")
    cold = Ring(moved.new, keystore=moved.rows)
    for ring in (moved.ring, cold):
        assert await ring.open(other) == moved.key
        assert ring.use(other) == [moved.key]
    assert moved.new.unwraps == 2


async def test_a_spelling_that_nobody_has_configured_is_refused_with_the_key_at_hand_too() -> None:
    """The row is gone, or its only recipient has been dropped."""
    moved = Moved("both")
    moved.rows.keep(row_of(moved.record, Recipient("fakekms://foreign", "1", b"x")))
    other = spelled(moved.record, "fakekms://elsewhere")
    assert await moved.ring.open(moved.record) == moved.key
    for ring in (moved.ring, Ring(moved.new, keystore=moved.rows)):
        with pytest.raises(KeyNotConfigured):
            await ring.open(other)


async def test_a_spelling_waits_for_the_keystore_with_the_key_at_hand_too() -> None:
    moved = Moved()
    assert await moved.ring.open(moved.record) == moved.key
    moved.ring.clock.advance(REFUSAL)
    moved.rows.keystore.down = True
    other = spelled(moved.record, "fakekms://foreign")
    for ring in (moved.ring, Ring(moved.new, keystore=moved.rows)):
        with pytest.raises(KmsUnavailable, match="the keystore"):
            await ring.open(other, timeout=1)
    assert moved.ring.use(moved.record) == [moved.key]


async def test_spellings_of_one_record_share_a_lookup() -> None:
    moved = Moved()
    moved.rows.keystore.kept.clear()
    for number in range(20):
        with pytest.raises(KeyNotConfigured):
            await moved.ring.open(spelled(moved.record, f"fakekms://foreign-{number}"))
    assert moved.lookups == 1


async def test_what_a_rewrap_adds_is_seen_as_soon_as_a_refusal_has_passed() -> None:
    moved = Moved()
    moved.rows.keystore.kept.clear()
    for _ in range(3):
        with pytest.raises(KeyNotConfigured):
            await moved.ring.open(moved.record)
    moved.rows.keep(moved.row)
    with pytest.raises(KeyNotConfigured):
        await moved.ring.open(moved.record)
    assert moved.lookups == 1
    moved.ring.clock.advance(REFUSAL)
    assert await moved.ring.open(moved.record) == moved.key


# --- leases -----------------------------------------------------------------------------------------------------------


async def test_a_keystores_recipient_is_under_a_lease_like_any_other() -> None:
    moved = Moved()
    assert await moved.ring.open(moved.record) == moved.key
    moved.new.denied = True
    moved.ring.advance(LEASE, step=LEASE / 10, use=lambda: moved.ring.use(moved.record))
    assert moved.ring.use(moved.record) == [None]
    with pytest.raises(KeyDenied):
        await moved.ring.open(moved.record)
    moved.new.denied = False
    moved.ring.clock.advance(REFUSAL)
    assert await moved.ring.open(moved.record) == moved.key


async def test_its_lease_is_renewed_by_one_call_for_all_keys_and_without_a_lookup() -> None:
    moved = Moved()
    records = [moved.record]
    for _ in range(9):
        record, other, _ = twice_wrapped(moved.old, moved.new)
        moved.rows.keep(row_of(record, *other.recipients))
        records.append(record)
    for record in records:
        await moved.ring.open(record)
    before = moved.lookups, moved.new.unwraps
    assert before == (10, 10)
    moved.ring.advance(3 * LEASE, step=LEASE / 10, use=lambda: moved.ring.use(*records))
    assert None not in moved.ring.use(*records)
    assert moved.lookups == 10
    assert moved.new.unwraps - 10 <= 5


async def test_grace_holds_for_it_as_well_and_ends() -> None:
    moved = Moved()
    await moved.ring.open(moved.record)
    moved.new.down = True
    moved.ring.advance(LEASE + GRACE - LEASE / 10, step=LEASE / 10, use=lambda: moved.ring.use(moved.record))
    assert moved.ring.use(moved.record) == [moved.key]
    moved.ring.clock.advance(LEASE / 10)
    assert moved.ring.use(moved.record) == [None]


async def test_nobody_waits_for_a_lease_that_is_out_of_reach_while_the_row_may_have_another_master_key() -> None:
    """As with an envelope of several recipients."""
    jobs = Jobs()
    moved = Moved("both", spawn=jobs)
    assert await moved.ring.open(moved.record) == moved.key
    moved.old.down = True

    def use() -> None:
        jobs.run()
        moved.ring.use(moved.record)

    moved.ring.advance(LEASE + GRACE + LEASE / 10, step=LEASE / 10, use=use)
    assert moved.ring.use(moved.record) == [None]
    before = moved.old.unwraps
    caller = asyncio.ensure_future(moved.ring.keyring.opening_key(moved.record))
    await settle()
    assert jobs.run_one()
    await settle()
    assert caller.done()
    assert await caller == moved.key
    assert (moved.old.unwraps - before, moved.new.unwraps) == (0, 1)


# --- callers ----------------------------------------------------------------------------------------------------------


async def test_a_thousand_callers_cost_one_lookup_and_one_call() -> None:
    moved = Moved(spawn=None)
    callers = [moved.ring.keyring.opening_key(moved.record) for _ in range(1_000)]
    assert set(await asyncio.gather(*callers)) == {moved.key}
    assert (moved.lookups, moved.new.unwraps) == (1, 1)
    moved.ring.keyring.close()


async def test_threads_that_want_the_same_row_wait_for_one_lookup() -> None:
    moved = Moved(spawn=None)
    reached, opened = threading.Event(), threading.Event()

    def hold(operation: str) -> None:
        reached.set()
        opened.wait(60)

    moved.rows.keystore.before_call = hold
    others = [spelled(moved.record, f"fakekms://foreign-{number}") for number in range(10)]
    callers = [asyncio.ensure_future(moved.ring.keyring.opening_key(record)) for record in others]
    await asyncio.to_thread(reached.wait, 60)
    await settle()
    opened.set()
    assert set(await asyncio.gather(*callers)) == {moved.key}
    assert moved.lookups == 1
    moved.ring.keyring.close()


async def test_spellings_of_one_record_that_wait_for_the_keystore_hold_up_nobody_who_needs_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lookups, "SECONDS", 60.0)
    moved = Moved(spawn=None)
    reached, opened = threading.Event(), threading.Event()

    def hold(operation: str) -> None:
        reached.set()
        opened.wait(60)

    moved.rows.keystore.before_call = hold
    others = [spelled(moved.record, f"fakekms://foreign-{number}") for number in range(100)]
    callers = [asyncio.ensure_future(moved.ring.keyring.opening_key(record)) for record in others]
    await asyncio.to_thread(reached.wait, 60)
    record, key = wrapped_by(moved.new)
    assert await asyncio.wait_for(moved.ring.keyring.opening_key(record), 30) == key
    opened.set()
    moved.ring.keyring.close()
    await asyncio.gather(*callers, return_exceptions=True)


async def test_a_keystore_that_hands_out_nonsense_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "SECONDS", 0.01)
    moved = Moved()
    row = moved.rows.keystore.kept[row_key(moved.record)]
    moved.rows.keystore.kept[row_key(moved.record)] = None, "1"  # type: ignore[assignment]
    with pytest.raises(KmsUnavailable):
        await moved.ring.open(moved.record, timeout=1)
    moved.rows.keystore.kept[row_key(moved.record)] = row
    moved.ring.advance(60)
    assert await moved.ring.open(moved.record, timeout=1) == moved.key


async def test_a_slow_keystore_costs_a_caller_its_own_time_only_and_the_others_get_the_outcome() -> None:
    jobs = Jobs()
    moved = Moved(spawn=jobs)
    impatient = asyncio.ensure_future(moved.ring.keyring.opening_key(moved.record, timeout=1))
    patient = asyncio.ensure_future(moved.ring.keyring.opening_key(moved.record, timeout=60))
    cancelled = asyncio.ensure_future(moved.ring.keyring.opening_key(moved.record, timeout=60))
    await settle()
    cancelled.cancel()
    moved.ring.clock.advance(2)
    await settle()
    with pytest.raises(KmsUnavailable):
        await impatient
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    jobs.run()
    assert await patient == moved.key
    assert moved.lookups == 1


async def test_closing_ends_the_wait_for_a_keystore_and_closes_it() -> None:
    moved = Moved(spawn=None)
    reached, opened = threading.Event(), threading.Event()

    def hold(operation: str) -> None:
        reached.set()
        opened.wait(60)

    moved.rows.keystore.before_call = hold
    caller = asyncio.ensure_future(moved.ring.keyring.opening_key(moved.record))
    await asyncio.to_thread(reached.wait, 60)
    moved.ring.keyring.close()
    with pytest.raises(KmsUnavailable, match="closed"):
        await caller
    assert moved.rows.closed == 1
    opened.set()
    with pytest.raises(KmsUnavailable, match="closed"):
        await moved.ring.keyring.opening_key(moved.record)


async def test_a_keystore_that_fails_at_close_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(FakeRows):
        def close(self) -> None:
            raise ZeroDivisionError

    Ring(keystore=Failing()).keyring.close()
    assert "the keystore failed unexpectedly at close" in caplog.text
