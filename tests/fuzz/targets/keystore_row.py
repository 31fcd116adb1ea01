"""A keystore's row under its key.

- `parse_row` returns a row, or raises `MalformedRow`, and nothing else.
- The second reader of `tests.support` takes the same rows, and finds the same in them.
- A row has one encoding: written again, it is the same bytes.
"""

from __future__ import annotations

from hashlib import sha256

from envelope_codec.keystore_row import KeystoreRow, MalformedRow, make_tag, parse_row
from tests.fuzz.built_record import assemble_head, assemble_recipients
from tests.fuzz.sections import Sections, join
from tests.fuzz.target import Target
from tests.support.second_row_reader import Row, read_row, row_tag
from tests.vectors.row_files import load_rows

RAW, RIGHT_KEY = 1, 2
_TAG_KEY = bytes(32)


def check(data: bytes) -> None:
    key, row = _build(data)
    second = _read_second(key, row)
    try:
        found = parse_row(key, row)
    except MalformedRow:
        assert second is None, "the second reader takes this row"
        return
    assert second is not None, "the second reader refuses this row"
    assert found.serialize() == row
    assert found.key == key
    assert (found.purpose, found.created, dict(found.context)) == (second.purpose, second.created, second.context)
    assert (found.id, found.tag, found.tagged) == (second.id, second.tag, second.tagged)
    listed = [(one.key_id, one.key_version, one.ciphertext) for one in found.recipients]
    assert listed == second.verified + second.imported
    assert make_tag(found, _TAG_KEY) == row_tag(_TAG_KEY, second)


def _build(data: bytes) -> tuple[bytes, bytes]:
    """Return a key and a row.

    Sections of a raw one: key and row. Of another: key, tag, how many recipients are verified, and then a record's.
    """
    given = Sections(data)
    if given.flags & RAW:
        key, row = given[0], given[1]
        if given.flags & RIGHT_KEY:
            end = 3 + int.from_bytes(row[1:3], "big")
            key = sha256(row[3 : end + 32]).digest()
        return key, row
    record = Sections(join(given.flags >> 2, *given.after(3)))
    head, parts = assemble_head(record)
    record_id = record[1].ljust(32, b"\0")[:32]
    split = 3 * (given[2][0] % 10 if given[2] else 0)
    row = b"\x01" + len(head).to_bytes(2, "big") + head + record_id
    row += assemble_recipients(parts[:split], first_spelled=True)
    row += assemble_recipients(parts[split:], first_spelled=True)
    row += bytes((len(given[1]) & 0xFF,)) + given[1]
    return sha256(head + record_id).digest() if given.flags & RIGHT_KEY else given[0], row


def _read_second(key: bytes, row: bytes) -> Row | None:
    try:
        return read_row(key, row)
    except ValueError:
        return None


def _form(row: KeystoreRow) -> bytes:
    context = [text.encode() for entry in row.context for text in entry]
    parts = [part for one in row.recipients for part in (one.key_id.encode(), one.key_version.encode(), one.ciphertext)]
    fixed = bytes((row.purpose,)) + row.created.to_bytes(8, "big"), row.id, bytes((len(row.context),))
    return join(RIGHT_KEY, row.key, row.tag, bytes((len(row.verified),)), *fixed, *context, *parts)


def seeds() -> dict[str, bytes]:
    found = {}
    for vector in load_rows():
        if len(vector.row) < 3_000:
            found[f"raw-{vector.name}"] = join(RAW, vector.key, vector.row)
            if vector.expect == "ok":
                found[vector.name] = _form(parse_row(vector.key, vector.row))
    return found


TARGET = Target(check, seeds, (b"temporal-namespace", b"aws:", b"envelope-codec:"))
