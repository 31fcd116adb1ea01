"""Publishing: where it is required, nothing is sealed under a wrapping key before the keystore has its record."""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import replace
from typing import Any

import pytest

from envelope_codec.envelope import Purpose, Recipient, Record, build_record
from envelope_codec.errors import KeyDenied, KeyNotConfigured, KmsUnavailable
from envelope_codec.keys.draft import Draft
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.publication import Publication
from envelope_codec.keystore_change import import_record
from envelope_codec.keystore_row import parse_row, row_key
from envelope_codec.kms import WrappedSecret
from envelope_codec.testing import FakeKeystore, FakeKms
from tests.support.forked_child import in_child
from tests.support.keyring_on_fakes import GRACE, LEASE, LIMITS, MAX_AGE, Ring, settle, wrapped_by
from tests.support.rows_on_fake import FakeRows, row_of


class Ended(FakeRows):
    """Whose process ends when a row has been written."""

    def put(self, key: bytes, data: bytes, revision: str | None, timeout: float) -> str:
        super().put(key, data, revision, timeout)
        raise SystemExit


class Publishing:
    """A keyring that publishes to a keystore with faults."""

    def __init__(self, *, required: bool = True, **more: Any) -> None:
        self.rows = FakeRows()
        self.keystore = self.rows.keystore
        self.ring = Ring(keystore=self.rows, publishing_required=required, **more)
        self.kms = self.ring.kms

    def has(self, record: Record) -> bool:
        """Whether the keystore has the record, with the record's own recipients."""
        row = self.rows.row(record)
        return row is not None and row.verified == record.recipients

    @property
    def queued(self) -> list[int]:
        """How many records waited, whenever that changed."""
        return [event.queued for event in self.ring.events if event.operation == "queue"]


# --- where the keystore answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("required", [True, False])
async def test_a_new_keys_record_is_there_before_anything_is_sealed(required: bool) -> None:
    publishing = Publishing(required=required)
    key = await publishing.ring.seal()
    assert publishing.has(key.record)
    assert publishing.ring.events.of("publish") == ["ok"]
    assert publishing.keystore.puts == 1
    for _ in range(100):
        await publishing.ring.seal()
    assert (publishing.keystore.puts, publishing.keystore.gets) == (1, 0)


async def test_the_record_is_checked_before_it_is_published() -> None:
    publishing = Publishing()
    publishing.kms.before_call = lambda operation: order.append(operation)
    publishing.keystore.before_call = lambda operation: order.append(operation)
    order: list[str] = []
    await publishing.ring.seal()
    assert order == ["wrap", "unwrap", "put"]


async def test_the_keystore_gets_nothing_but_wrapped_keys() -> None:
    publishing = Publishing()
    key = await publishing.ring.seal()
    recipient = key.record.recipients[0]
    secret = publishing.kms.unwrap(wrapped(recipient), key.record.kms_context).secret
    [(data, _)] = publishing.keystore.kept.values()
    assert len(key.key) == len(secret) == 32
    assert key.key not in data
    assert secret not in data
    assert len(data) < len(key.record.head) + len(recipient.ciphertext) + 200


async def test_what_the_keystore_says_of_a_new_key_changes_nothing_of_it() -> None:
    """Its writer is quicker, and puts a row there with a recipient of his own."""
    theirs = FakeKms("fakekms://theirs")
    planted = Recipient(theirs.key_id, "1", b"made up")

    class Quicker(FakeRows):
        def put(self, key: bytes, data: bytes, revision: str | None, timeout: float) -> str:
            if not self.keystore.kept:
                self.keep(replace(parse_row(key, data), verified=(planted,)))
            return super().put(key, data, revision, timeout)

    rows = Quicker()
    ring = Ring(keystore=rows)
    key = await ring.seal()
    assert [recipient.key_id for recipient in key.record.recipients] == [ring.kms.key_id]
    assert await ring.open(key.record) == key.key
    row = rows.row(key.record)
    assert row is not None
    assert row.verified == (planted, *key.record.recipients)
    with pytest.raises(KeyNotConfigured):
        await Ring(FakeKms(), keystore=rows).open(key.record)


async def test_the_next_key_is_published_too() -> None:
    publishing = Publishing()
    first = await publishing.ring.seal()
    publishing.ring.advance(MAX_AGE, step=LEASE / 3, use=lambda: publishing.ring.keyring.try_sealing_key("default"))
    second = await publishing.ring.seal()
    assert second.record.id != first.record.id
    assert publishing.has(first.record)
    assert publishing.has(second.record)


async def test_all_recipients_are_published() -> None:
    rows, masters = FakeRows(), [FakeKms() for _ in range(3)]
    ring = Ring(KeySet(masters[0], tuple(masters[1:])), keystore=rows)
    key = await ring.seal()
    row = rows.row(key.record)
    assert row is not None
    assert [recipient.key_id for recipient in row.verified] == [master.key_id for master in masters]


async def test_a_role_that_may_only_encrypt_publishes_as_well() -> None:
    publishing = Publishing(verify_wraps=False)
    assert publishing.has((await publishing.ring.seal()).record)


async def test_data_keys_are_not_published() -> None:
    publishing = Publishing(direct=True)
    await publishing.ring.seal()
    assert publishing.keystore.puts == 0


async def test_what_was_published_opens_in_a_process_that_has_another_master_key_only() -> None:
    """All the way round: sealed, given another recipient, and opened without the first master key."""
    publishing, new = Publishing(), FakeKms()
    key = await publishing.ring.seal()
    row = publishing.rows.row(key.record)
    assert row is not None
    recipient = row.verified[0]
    secret = publishing.kms.unwrap(wrapped(recipient), key.record.kms_context).secret
    again = new.wrap(secret, key.record.kms_context)
    added = Recipient(again.key_id, again.key_version, again.ciphertext)
    publishing.rows.keep(replace(row, verified=(*row.verified, added)))
    reader = Ring(new, keystore=publishing.rows)
    assert await reader.open(key.record) == key.key


def wrapped(recipient: Recipient) -> WrappedSecret:
    return WrappedSecret(recipient.key_id, recipient.key_version, recipient.ciphertext)


# --- required, and no answer ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["down", "refuses", "broken"])
async def test_nothing_is_sealed_at_first_while_the_keystore_gives_no_answer(fault: str) -> None:
    publishing = Publishing()
    if fault == "down":
        publishing.keystore.down = True
    elif fault == "refuses":
        publishing.keystore.refuses.add("put")
    else:
        publishing.keystore.before_call = fail
    with pytest.raises(KmsUnavailable, match="the keystore") as caught:
        await publishing.ring.seal(timeout=10)
    assert caught.value.code == "keystore-unavailable"
    assert publishing.ring.keyring.try_sealing_key("default") is None
    assert publishing.ring.kept == 0
    publishing.keystore.down = False
    publishing.keystore.refuses.clear()
    publishing.keystore.before_call = lambda operation: None
    key = await publishing.ring.seal(timeout=60)
    assert publishing.has(key.record)


def fail(operation: str) -> None:
    """Fail as no keystore may."""
    raise ZeroDivisionError("words of a client library")


async def test_a_worker_waits_for_the_keystore_and_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    publishing = Publishing(observer=None)
    publishing.keystore.down = True
    start = asyncio.ensure_future(publishing.ring.keyring.prewarm("default"))
    await settle()
    for _ in range(50):
        publishing.ring.clock.advance(10)
        await settle()
    assert not start.done()
    assert "publish failed: StoreUnavailable: the keystore did not answer" in caplog.text
    assert "`envelope-codec keystore check`" in caplog.text
    publishing.keystore.down = False
    await publishing.ring.finish(start)
    key = publishing.ring.keyring.try_sealing_key("default")
    assert key is not None
    assert publishing.has(key.record)


async def test_a_keystore_that_is_down_costs_the_kms_little() -> None:
    publishing = Publishing()
    publishing.keystore.down = True
    start = asyncio.ensure_future(publishing.ring.keyring.prewarm("default"))
    await settle()
    publishing.ring.advance(3_600, step=1)
    await settle()
    assert 3_600 / 60 < publishing.kms.wraps < 3_600 / 10
    publishing.keystore.down = False
    await publishing.ring.finish(start)


async def test_the_key_in_use_goes_on_past_its_age_and_the_next_comes_when_the_keystore_is_back() -> None:
    publishing = Publishing()
    ring = publishing.ring
    first = await ring.seal()
    publishing.keystore.down = True
    lost: list[bool] = []

    def use() -> None:
        key = ring.keyring.try_sealing_key("default")
        lost.append(key is None or key.record.id != first.record.id)

    ring.advance(MAX_AGE + GRACE - LEASE, step=LEASE / 10, use=use)
    assert not any(lost)
    assert "StoreUnavailable" in ring.events.of("publish")
    publishing.keystore.down = False
    ring.advance(120, step=10, use=lambda: ring.keyring.try_sealing_key("default"))
    second = await ring.seal()
    assert second.record.id != first.record.id
    assert publishing.has(second.record)


@pytest.mark.parametrize("fault", ["down", "refuses"])
async def test_past_its_age_the_key_in_use_goes_on_for_the_grace_and_then_sealing_waits(fault: str) -> None:
    """A keystore that answers readers and refuses to be written to is no other case, and lends no time."""
    publishing = Publishing()
    ring = publishing.ring
    first = await ring.seal()
    publishing.keystore.down = fault == "down"
    publishing.keystore.refuses.add("put")

    def use() -> None:
        ring.keyring.try_sealing_key("default")

    ring.advance(MAX_AGE + GRACE - LEASE, step=LEASE / 10, use=use)
    assert (await ring.seal()).record.id == first.record.id
    for _ in range(2):
        if fault == "refuses":
            moved, again = made(FakeKms(), publishing.kms)
            publishing.rows.keep(row_of(moved, *again.recipients))
            await ring.open(moved)
        ring.advance(LEASE, step=LEASE / 10, use=use)
        with pytest.raises(KmsUnavailable, match=r"the keystore .* no wrapping key seals before it is in") as caught:
            await ring.seal(timeout=60)
        assert caught.value.code == "keystore-unavailable"
    publishing.keystore.down = False
    publishing.keystore.refuses.clear()
    second = await ring.seal()
    assert publishing.has(second.record)


async def test_a_count_that_is_over_lasts_for_the_grace_as_well() -> None:
    publishing = Publishing(limits=replace(LIMITS, max_payloads=100))
    ring = publishing.ring
    await ring.seal()
    publishing.keystore.down = True
    for _ in range(100):
        await ring.seal()
    spent = ring.clock.monotonic()
    while ring.clock.monotonic() < spent + GRACE - 1:
        await ring.seal()
        ring.clock.advance(10)
    ring.clock.advance(10)
    with pytest.raises(KmsUnavailable, match="the keystore"):
        await ring.seal(timeout=60)


async def test_without_grace_the_key_in_use_ends_at_its_age() -> None:
    publishing = Publishing(limits=replace(LIMITS, outage_grace=0.0))
    await publishing.ring.seal()
    publishing.keystore.down = True
    use = publishing.ring.keyring.try_sealing_key
    publishing.ring.advance(MAX_AGE - LEASE, step=LEASE / 10, use=lambda: use("default"))
    assert use("default") is not None
    publishing.ring.advance(LEASE, step=LEASE / 10, use=lambda: use("default"))
    assert use("default") is None


async def test_a_kms_that_refuses_ends_the_key_in_use_whatever_the_keystore_does() -> None:
    publishing = Publishing()
    await publishing.ring.seal()
    publishing.keystore.down = publishing.kms.denied = True
    publishing.ring.advance(LEASE + 1)
    with pytest.raises(KeyDenied):
        await publishing.ring.seal(timeout=1)


async def test_renewing_on_demand_tells_that_the_key_in_use_goes_on() -> None:
    publishing = Publishing()
    first = await publishing.ring.seal()
    publishing.keystore.down = True
    with pytest.raises(KmsUnavailable, match="goes on"):
        await publishing.ring.finish(publishing.ring.keyring.renew(timeout=1))
    assert (await publishing.ring.seal()).record.id == first.record.id


async def test_ended_between_publishing_and_use_the_keystore_has_one_row_more_and_nothing_less() -> None:
    publishing = Publishing()
    first = await publishing.ring.seal()
    with pytest.raises(KmsUnavailable):
        await Ring(publishing.kms, keystore=Ended(publishing.keystore)).seal(timeout=0)
    assert len(publishing.keystore.kept) == 2
    assert publishing.has(first.record)


# --- the row is there already -----------------------------------------------------------------------------------------


def made(kms: FakeKms, *others: FakeKms) -> tuple[Record, Record]:
    """A record, and the same record with recipients of other master keys."""
    draft = Draft(Purpose.WRAPPING_KEY, 1_700_000_000, {"temporal-namespace": "default"})
    recipients = [draft.wrap_by(master).recipients[0] for master in others or (kms,)]
    return draft.wrap_by(kms), draft.record(recipients)


def publication(rows: FakeRows) -> Publication:
    return Publication(rows, Ring().keyring._calls, required=True)


async def test_a_keystore_that_is_slow_to_publish_holds_up_no_renewal_of_a_lease() -> None:
    kms, rows = FakeKms(), FakeRows()
    ring = Ring(kms, spawn=None, keystore=rows)
    record, key = wrapped_by(kms)
    assert await ring.keyring.opening_key(record) == key
    publishing, answered = threading.Semaphore(0), threading.Event()

    def hold(operation: str) -> None:
        publishing.release()
        answered.wait(60)

    rows.keystore.before_call = hold
    seals = [asyncio.ensure_future(ring.keyring.sealing_key(f"namespace-{number}")) for number in range(40)]
    for _ in range(4):
        await asyncio.to_thread(publishing.acquire, timeout=60)
    ring.advance(LEASE + 1)
    assert await asyncio.wait_for(ring.keyring.opening_key(record), 30) == key
    answered.set()
    ring.keyring.close()
    await asyncio.gather(*seals, return_exceptions=True)


def test_a_lost_answer_makes_the_next_attempt_no_conflict() -> None:
    rows = FakeRows()
    record, _ = made(FakeKms())
    for _ in range(2):
        publication(rows).publish(record)
    assert len(rows.keystore.kept) == 1
    assert (rows.keystore.puts, rows.keystore.gets) == (2, 1)


def test_what_others_have_added_stays() -> None:
    kms, new, found = FakeKms(), FakeKms(), FakeKms()
    rows = FakeRows()
    record, other = made(kms, new)
    _, third = made(kms, found)
    publication(rows).publish(other)
    row = rows.row(record)
    assert row is not None
    third = replace_recipients(record, third)
    rows.keep(import_record(third, row))
    publication(rows).publish(record)
    row = rows.row(record)
    assert row is not None
    assert row.verified == (*other.recipients, *record.recipients)
    assert row.imported == third.recipients


def replace_recipients(record: Record, other: Record) -> Record:
    return build_record(record.head, record.id, other.recipients)


def test_a_row_that_others_write_to_at_the_same_moment_is_read_again() -> None:
    rows = FakeRows()
    record, other = made(FakeKms(), FakeKms())

    def meddle(operation: str) -> None:
        if operation == "put" and rows.keystore.puts < 3:
            publication(FakeRows(replaced)).publish(other)
            rows.keystore.kept.update(
                {key: (data, f"{rows.keystore.puts}") for key, (data, _) in replaced.kept.items()}
            )

    replaced = FakeKeystore()
    rows.keystore.before_call = meddle
    publication(rows).publish(record)
    row = rows.row(record)
    assert row is not None
    assert row.verified == (*other.recipients, *record.recipients)


def test_what_can_not_be_read_is_not_overwritten() -> None:
    """It may be a row of a later version."""
    rows = FakeRows()
    record, _ = made(FakeKms())
    rows.keystore.kept[row_key(record)] = b"\x02a later version", "1"
    with pytest.raises(KmsUnavailable, match="the keystore refused"):
        publication(rows).publish(record)
    assert rows.keystore.kept[row_key(record)] == (b"\x02a later version", "1")


# --- best effort ------------------------------------------------------------------------------------------------------


async def test_best_effort_seals_and_publishes_as_soon_as_the_keystore_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    publishing = Publishing(required=False)
    publishing.keystore.down = True
    keys = [await publishing.ring.seal(f"namespace-{number}") for number in range(3)]
    assert publishing.queued == [1, 2, 3]
    assert not publishing.keystore.kept
    assert keys[0].record.id.hex() in caplog.text
    publishing.ring.clock.advance(600)
    assert publishing.queued == [1, 2, 3]
    publishing.keystore.down = False
    publishing.ring.clock.advance(60)
    assert all(publishing.has(key.record) for key in keys)
    assert publishing.queued == [1, 2, 3, 2, 1, 0]


async def test_best_effort_does_not_wait_for_a_keystore_that_is_known_to_be_down() -> None:
    publishing = Publishing(required=False)
    publishing.keystore.down = True
    for number in range(20):
        await publishing.ring.seal(f"namespace-{number}")
    assert publishing.keystore.puts == 1


async def test_the_queue_asks_less_and_less_often() -> None:
    publishing = Publishing(required=False)
    publishing.keystore.down = True
    await publishing.ring.seal()
    publishing.ring.clock.advance(3_600)
    assert 3_600 / 60 < publishing.keystore.puts < 3_600 / 20


async def test_one_record_that_the_keystore_refuses_does_not_hold_up_the_others() -> None:
    publishing = Publishing(required=False)
    publishing.keystore.down = True
    bad = await publishing.ring.seal("bad")
    good = await publishing.ring.seal("good")
    publishing.keystore.down = False
    publishing.keystore.kept[row_key(bad.record)] = b"\x02", "1"
    publishing.ring.clock.advance(600)
    assert publishing.has(good.record)
    assert publishing.queued[-1] == 1


async def test_a_key_that_could_be_published_takes_the_others_along() -> None:
    publishing = Publishing(required=False)
    publishing.keystore.down = True
    first = await publishing.ring.seal("first")
    publishing.ring.clock.advance(3_600)
    publishing.keystore.down = False
    await publishing.ring.seal("second")
    publishing.ring.clock.advance(1)
    assert publishing.has(first.record)


async def test_the_queue_is_bounded_and_what_it_loses_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("envelope_codec.keys.publication_queue._MOST", 3)
    publishing = Publishing(required=False)
    publishing.keystore.down = True
    keys = [await publishing.ring.seal(f"namespace-{number}") for number in range(5)]
    assert publishing.queued == [1, 2, 3, 3, 3]
    assert caplog.text.count("too many records wait for the keystore") == 2
    publishing.keystore.down = False
    publishing.ring.clock.advance(120)
    assert [publishing.has(key.record) for key in keys] == [False, False, True, True, True]


async def test_closing_logs_how_many_records_were_never_published(caplog: pytest.LogCaptureFixture) -> None:
    publishing = Publishing(required=False)
    publishing.keystore.down = True
    for number in range(3):
        await publishing.ring.seal(f"namespace-{number}")
    publishing.ring.keyring.close()
    assert "the keyring was closed: 3 records were never published" in caplog.text
    publishing.keystore.down = False
    publishing.ring.clock.advance(600)
    assert not publishing.keystore.kept
    assert publishing.rows.closed == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
async def test_a_forked_child_does_not_publish_what_waits_in_its_parent() -> None:
    publishing = Publishing(required=False)
    publishing.keystore.down = True
    await publishing.ring.seal()

    def work() -> tuple[bool, int]:
        publishing.keystore.down = False
        key = asyncio.run(publishing.ring.seal())
        return publishing.has(key.record), len(publishing.keystore.kept)

    assert in_child(work) == (True, 1)
    publishing.keystore.down = False
    publishing.ring.clock.advance(600)
    assert len(publishing.keystore.kept) == 1
