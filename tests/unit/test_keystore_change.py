"""What may become of a keystore's row, and what may not."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope_codec.envelope import Purpose, Recipient, Record, build_record, commit, record_head
from envelope_codec.keystore_change import ChangeRefused, add_verified, drop, import_record, publish, restore
from envelope_codec.keystore_row import MAX_IMPORTED, KeystoreRow, parse_row, size_of

HEAD = record_head(Purpose.WRAPPING_KEY, 1_767_225_600, {"temporal-namespace": "prod"})
ID = commit(bytes(32), HEAD)[1]


def record_of(*recipients: Recipient) -> Record:
    return build_record(HEAD, ID, recipients)


def recipient(key_id: str, size: int = 60, version: str = "1") -> Recipient:
    return Recipient(key_id, version, os.urandom(size))


OLD, NEW, OTHER = recipient("key:old"), recipient("key:new"), recipient("key:other")


def test_a_record_is_published_with_its_recipients_in_order() -> None:
    row = publish(record_of(OLD, OTHER))
    assert (row.verified, row.imported, row.tag) == ((OLD, OTHER), (), b"")


def test_publishing_again_changes_nothing() -> None:
    row = add_verified(publish(record_of(OLD)), NEW)
    assert publish(record_of(OLD), row) == row


def test_publishing_what_was_imported_before_verifies_it() -> None:
    made_up = replace(OLD, ciphertext=b"made up")
    row = import_record(record_of(OLD), import_record(record_of(made_up, OTHER)))
    assert row.imported == (made_up, OTHER, OLD)
    published = publish(record_of(OLD), row)
    assert (published.verified, published.imported) == ((OLD,), (OTHER,))


def test_publishing_leaves_a_verified_recipient_that_took_the_first_ones_place() -> None:
    later = replace(OLD, ciphertext=b"another version's", key_version="2")
    row = add_verified(publish(record_of(OLD)), later, OLD.ciphertext)
    assert publish(record_of(OLD), row) == row


def test_an_import_adds_what_is_missing_and_replaces_nothing() -> None:
    made_up = replace(OLD, ciphertext=b"made up")
    row = import_record(record_of(made_up, NEW), publish(record_of(OLD)))
    assert (row.verified, row.imported) == ((OLD,), (NEW,))
    assert import_record(record_of(made_up, NEW), row) == row


def test_a_made_up_recipient_does_not_keep_out_the_genuine_one() -> None:
    row = import_record(record_of(replace(OLD, ciphertext=b"made up")))
    assert import_record(record_of(OLD), row).imported[1:] == (OLD,)


def test_an_import_stops_at_eight_and_at_the_bound_of_bytes() -> None:
    row = import_record(record_of(*(recipient(f"key:{number}") for number in range(8))))
    assert len(row.imported) == 8
    assert import_record(record_of(OLD), row) == row
    large = [recipient(f"key:{number}", 4_000) for number in range(4)]
    row = import_record(record_of(*large[:3]))
    row = import_record(record_of(large[3], recipient("key:more", 1_000)), row)
    assert row.imported[:4] == tuple(large)
    assert len(row.imported) == 4
    assert size_of(row.imported) <= MAX_IMPORTED
    assert import_record(record_of(OLD), row).imported[4:] == (OLD,)


def test_the_recipients_of_any_one_record_can_be_imported() -> None:
    names = [f"key:{number}".ljust(512, "k") for number in range(4)]
    missing = 16_384 - len(HEAD) - 33 - 3 * (512 + 6) - 6
    sizes = [4_096, 4_096, 4_096, missing - 3 * 4_096]
    record = record_of(*(recipient(name, size, "") for name, size in zip(names, sizes, strict=True)))
    assert len(record.wire) == 16_384
    assert import_record(record).imported == record.recipients


def test_a_verified_recipient_takes_the_place_of_the_imported_ones_of_its_key() -> None:
    row = import_record(record_of(replace(NEW, ciphertext=b"made up"), OTHER), publish(record_of(OLD)))
    row = import_record(record_of(NEW), row)
    row = add_verified(row, NEW)
    assert (row.verified, row.imported) == ((OLD, NEW), (OTHER,))
    assert add_verified(row, NEW) == row


def test_a_verified_recipient_replaces_another_only_if_its_ciphertext_is_named() -> None:
    row = publish(record_of(OLD, OTHER))
    later = replace(OLD, ciphertext=b"another version's", key_version="2")
    for named in (None, b"", OTHER.ciphertext, later.ciphertext):
        with pytest.raises(ChangeRefused, match="another verified"):
            add_verified(row, later, named)
    assert add_verified(row, later, OLD.ciphertext).verified == (later, OTHER)


def test_there_are_eight_verified_recipients_at_most() -> None:
    row = publish(record_of(*(recipient(f"key:{number}") for number in range(8))))
    with pytest.raises(ChangeRefused, match="eight"):
        add_verified(row, NEW)
    later = replace(row.verified[3], ciphertext=b"another version's")
    assert len(add_verified(row, later, row.verified[3].ciphertext).verified) == 8


def test_a_recipient_goes_only_against_the_proof_of_another() -> None:
    row = import_record(record_of(OTHER), add_verified(publish(record_of(OLD)), NEW))
    assert drop(row, OLD.key_id, NEW).verified == (NEW,)
    assert drop(row, OLD.key_id, NEW).imported == (OTHER,)
    assert drop(row, OTHER.key_id, NEW).imported == ()
    for key_id, proof in (
        (OLD.key_id, OLD),
        (OLD.key_id, replace(NEW, ciphertext=b"another")),
        (OLD.key_id, replace(NEW, key_version="2")),
        (OLD.key_id, OTHER),  # nobody has unwrapped it
    ):
        with pytest.raises(ChangeRefused, match="prove"):
            drop(row, key_id, proof)
    assert drop(row, "key:that-is-not-there", NEW) == row


def test_what_was_saved_adds_what_is_missing_and_replaces_nothing() -> None:
    saved = import_record(record_of(OTHER), replace(add_verified(publish(record_of(OLD)), NEW), tag=bytes(32)))
    assert restore(saved) == saved
    assert restore(saved, saved) == saved
    later = replace(OLD, ciphertext=b"another version's", key_version="2")
    row = import_record(record_of(NEW), publish(record_of(later)))
    restored = restore(saved, row)
    assert (restored.verified, restored.imported, restored.tag) == ((later, NEW), (OTHER,), b"")
    assert restore(saved, restored) == restored
    with pytest.raises(ChangeRefused, match="eight"):
        restore(saved, publish(record_of(*(recipient(f"key:{number}") for number in range(8)))))
    with pytest.raises(ValueError, match="another record"):
        restore(saved, publish(build_record(HEAD, bytes(32), [OLD])))


def test_what_is_restored_takes_no_place_of_what_was_imported() -> None:
    genuine, edited = recipient("key:old"), replace(recipient("key:old"), ciphertext=b"edited")
    saved = publish(record_of(edited, NEW))
    row = import_record(record_of(genuine))
    restored = restore(saved, row)
    assert (restored.verified, restored.imported) == ((NEW,), (genuine, edited))
    assert restore(saved, restored) == restored
    assert parse_row(restored.key, restored.serialize()) == restored
    assert restore(publish(record_of(genuine)), row).verified == (genuine,), "the same one: now it is verified"
    for number in range(8):
        row = replace(row, imported=(*row.imported[:number], replace(genuine, ciphertext=bytes((number + 1,)))))
    with pytest.raises(ChangeRefused, match="full of other imported"):
        restore(saved, row)


def test_a_tag_goes_with_the_list_that_it_was_made_for() -> None:
    row = replace(add_verified(publish(record_of(OLD)), NEW), tag=bytes(32))
    assert import_record(record_of(OTHER), row).tag == row.tag
    assert add_verified(row, NEW).tag == row.tag
    assert drop(import_record(record_of(OTHER), row), OTHER.key_id, NEW).tag == row.tag
    assert add_verified(row, OTHER).tag == b""
    assert drop(row, OLD.key_id, NEW).tag == b""


@pytest.mark.parametrize("change", [publish, import_record])
def test_direct_mode_is_not_kept_and_no_row_takes_another_records_recipients(change: object) -> None:
    head = record_head(Purpose.DATA_KEY, 0, {"temporal-namespace": "prod"})
    assert callable(change)
    with pytest.raises(ValueError, match="direct mode"):
        change(build_record(head, ID, [OLD]))
    with pytest.raises(ValueError, match="another record"):
        change(build_record(HEAD, bytes(32), [OLD]), publish(record_of(OLD)))


RECIPIENTS = st.builds(
    Recipient, st.sampled_from([f"key:{n}" for n in range(10)]), st.just(""), st.binary(min_size=1, max_size=2)
)
CHANGES = st.one_of(
    st.tuples(st.just("import"), RECIPIENTS),
    st.tuples(st.just("verify"), RECIPIENTS),
    st.tuples(st.just("replace"), RECIPIENTS),
    st.tuples(st.just("drop"), RECIPIENTS),
    st.tuples(st.just("publish"), RECIPIENTS),
)


@given(st.lists(CHANGES, max_size=40))
def test_whatever_is_changed_it_is_a_row_that_has_a_recipient(changes: list[tuple[str, Recipient]]) -> None:
    row = publish(record_of(OLD))
    for kind, one in changes:
        row = changed(row, kind, one)
        assert parse_row(row.key, row.serialize()) == row


def changed(row: KeystoreRow, kind: str, one: Recipient) -> KeystoreRow:
    try:
        if kind == "import":
            return import_record(record_of(one), row)
        if kind == "publish":
            return publish(record_of(one), row)
        if kind == "drop":
            return drop(row, one.key_id, row.verified[0])
        before = [other.ciphertext for other in row.verified if other.key_id == one.key_id]
        return add_verified(row, one, before[0] if before and kind == "replace" else None)
    except ChangeRefused:
        return row
