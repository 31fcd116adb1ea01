"""Rows of a keystore: one encoding each, nothing read that does not belong there. Vectors hold each bound and rule."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envelope_codec.envelope import Purpose, Recipient, Record, build_record, commit, record_head
from envelope_codec.errors import EnvelopeError
from envelope_codec.keystore_change import publish
from envelope_codec.keystore_row import MAX_IMPORTED, MAX_ROW, KeystoreRow, MalformedRow, make_tag, parse_row, row_key
from tests.vectors.row_files import RowVector, load_rows

CREATED = 1_767_225_600


def record_of(
    *recipients: Recipient, purpose: Purpose = Purpose.WRAPPING_KEY, context: Mapping[str, str] | None = None
) -> Record:
    head = record_head(purpose, CREATED, {"temporal-namespace": "prod", **(context or {})})
    return build_record(head, commit(bytes(32), head)[1], recipients or (recipient("key:a"),))


def recipient(key_id: str, size: int = 60, version: str = "1") -> Recipient:
    return Recipient(key_id, version, os.urandom(size))


TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
RECIPIENTS = st.builds(Recipient, TEXT.filter(bool), TEXT, st.binary(min_size=1, max_size=80))


@st.composite
def rows(draw: st.DrawFn) -> KeystoreRow:
    purpose = draw(st.sampled_from((Purpose.WRAPPING_KEY, Purpose.SHARED_WRAPPING_KEY)))
    head = record_head(purpose, draw(st.integers(0, 2**64 - 1)), {"temporal-namespace": "prod", "x": draw(TEXT) or "v"})
    verified = draw(st.lists(RECIPIENTS, max_size=8, unique_by=lambda one: one.key_id))
    names = {one.key_id for one in verified}
    imported = draw(
        st.lists(RECIPIENTS.filter(lambda one: one.key_id not in names), min_size=not verified, max_size=8, unique=True)
    )
    tag = draw(st.sampled_from((b"", bytes(range(32)))))
    row = publish(build_record(head, draw(st.binary(min_size=32, max_size=32)), [Recipient("k", "", b"c")]))
    return KeystoreRow(head, row.id, row.purpose, row.created, row.context, tuple(verified), tuple(imported), tag)


@given(rows())
def test_a_row_that_is_written_is_read_as_it_was(row: KeystoreRow) -> None:
    data = row.serialize()
    assert len(data) <= MAX_ROW
    again = parse_row(row.key, data)
    assert again == row
    assert again.serialize() == data


@given(st.data(), rows())
def test_what_is_read_is_written_to_the_byte(data: st.DataObject, row: KeystoreRow) -> None:
    """Whatever is changed in the bytes of a row, it is no row, or exactly that row."""
    whole = bytearray(row.serialize())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    changed = bytes(whole)
    try:
        read = parse_row(row.key, changed)
    except MalformedRow:
        return
    assert read.serialize() == changed
    assert (read.head, read.id) == (row.head, row.id)


@given(st.binary(max_size=200), st.binary(min_size=32, max_size=32))
@example(b"", bytes(32))
def test_any_bytes_are_a_row_or_absent(data: bytes, key: bytes) -> None:
    with pytest.raises(MalformedRow):
        parse_row(key, data)


@pytest.mark.parametrize("vector", load_rows("ok"), ids=lambda vector: vector.name)
def test_no_byte_less_and_none_more(vector: RowVector) -> None:
    key, data = vector.key, vector.row
    step = max(1, len(data) // 300)
    for end in {*range(0, len(data), step), len(data) - 1}:
        with pytest.raises(MalformedRow):
            parse_row(key, data[:end])
    for tail in (b"\0", b"\x20" + bytes(32), data):
        with pytest.raises(MalformedRow):
            parse_row(key, data + tail)


def test_a_row_that_does_not_parse_is_no_error_of_a_payload() -> None:
    assert not issubclass(MalformedRow, EnvelopeError)


def test_a_row_belongs_to_the_record_with_its_head_and_id_alone() -> None:
    record, other = record_of(), record_of(context={"tenant": "t1"})
    row = publish(record)
    assert row.key == row_key(record) != row_key(other)
    assert row.belongs_to(record)
    assert row.belongs_to(build_record(record.head, record.id, [recipient("key:b")]))
    assert not row.belongs_to(other)
    assert not row.belongs_to(build_record(record.head, bytes(32), record.recipients))


def test_a_row_gives_the_kms_what_its_record_does() -> None:
    record = record_of(context={"tenant": "t1"})
    row = publish(record)
    assert row.kms_context == record.kms_context
    assert row.namespace == record.namespace
    assert row.recipients == record.recipients


def test_the_largest_imported_recipients_leave_room_for_eight_of_the_largest_verified() -> None:
    most_head = 1 + 1 + 8 + 1 + 253 * 4 + 6000
    most_verified = 8 * (2 + 512 + 2 + 256 + 2 + 4096)
    assert 1 + 2 + most_head + 32 + 1 + most_verified + 1 + MAX_IMPORTED + 1 + 32 <= MAX_ROW


def test_a_tag_is_of_all_up_to_the_verified_recipients_and_of_its_key() -> None:
    row = publish(record_of(recipient("key:a"), recipient("key:b")))
    tag = make_tag(row, bytes(32))
    assert len(tag) == 32
    assert make_tag(row, bytes(31) + b"\x01") != tag
    assert make_tag(replace(row, imported=(recipient("key:c"),), tag=tag), bytes(32)) == tag
    head = record_of(context={"x": "y"}).head
    for changed in (replace(row, verified=row.verified[:1]), replace(row, id=bytes(32)), replace(row, head=head)):
        assert make_tag(changed, bytes(32)) != tag
