"""A record, and the key id of its first recipient.

- `parse_record` returns a record, or raises `MalformedEnvelope`, and nothing else.
- The second reader of `tests.support` takes the same records.
- A record has one encoding: put together anew from its fields, it is the same bytes.
"""

from __future__ import annotations

from envelope_codec.envelope import Record, parse_head, parse_record, record_head
from envelope_codec.envelope import build_record as write_record
from envelope_codec.errors import MalformedEnvelope
from tests.fuzz.built_record import RAW, build_record, fields_form
from tests.fuzz.sections import join
from tests.fuzz.target import Target
from tests.support import second_reader
from tests.vectors.vector_files import load

_parse = parse_record.__wrapped__  # without the cache


def check(data: bytes) -> None:
    key_id, wire = build_record(data)
    try:
        record: Record = _parse(wire, key_id)
    except MalformedEnvelope:
        assert not _second_takes(wire, key_id), "the second reader takes this record"
        return
    assert _second_takes(wire, key_id), "the second reader refuses this record"
    assert record_head(record.purpose, record.created, dict(record.context)) == record.head
    assert write_record(record.head, record.id, record.recipients).wire == wire
    head = parse_head(record.head)
    assert (head.purpose, head.created, head.context) == (record.purpose, record.created, record.context)


def _second_takes(wire: bytes, key_id: bytes) -> bool:
    """Whether the second reader asks a KMS to unwrap one of the recipients: it has checked the record then."""
    asked = []

    def unwrap(*question: object) -> bytes:
        asked.append(question)
        raise ValueError("the KMS refuses")

    # The record's purpose is its second byte.
    metadata = {"encoding": b"binary/envelope-v1", "encryption-wrapped-key": wire, "encryption-key-id": key_id}
    if wire[1:2] != b"\x02":
        metadata["encryption-data-key"] = bytes(40)
    try:
        second_reader.open_envelope(metadata, bytes(60), unwrap)
    except ValueError:
        return bool(asked)
    raise AssertionError("it opened")


def seeds() -> dict[str, bytes]:
    found = {}
    for vector in load(lambda vector: vector.expect in ("ok", "MalformedEnvelope")):
        wire, key_id = vector.metadata.get("encryption-wrapped-key", b""), vector.metadata.get("encryption-key-id", b"")
        if len(wire) > TARGET.longest - 600:
            continue
        found[f"raw-{vector.name}"] = join(RAW, key_id, wire)
        if vector.expect == "ok":
            found[vector.name] = fields_form(parse_record(wire, key_id))
    return found


TARGET = Target(check, seeds, (b"temporal-namespace", b"aws:", b"envelope-codec:", b"\xc3\xa9", b"\xed\xa0\x80"))
