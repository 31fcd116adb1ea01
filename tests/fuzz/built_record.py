"""Records as inputs: their bytes as they are, or their fields, which are put together with lengths that are right."""

from __future__ import annotations

from typing import NamedTuple

from envelope_codec.envelope import Record, parse_record
from envelope_codec.errors import MalformedEnvelope
from tests.fuzz.known_key import with_right_id
from tests.fuzz.sections import Sections, join

RAW, RIGHT_ID, SORTED, WITH_NAMESPACE, SPELLED = 1, 2, 4, 8, 16
_VERSION = b"\x01"
_FIXED = 3  # sections before those of the context


class BuiltRecord(NamedTuple):
    """What metadata has of a record."""

    key_id: bytes
    wire: bytes


def build_record(form: bytes) -> BuiltRecord:
    """Return the record that an input asks for.

    Sections of a raw one: key id, and the record. Of another: purpose and created, id, how many entries the context
    has, then names and values, then key id, version and ciphertext of each recipient.
    """
    given = Sections(form)
    if given.flags & RAW:
        key_id, wire = given[0], given[1]
    else:
        key_id, wire = _assemble(given)
    return BuiltRecord(key_id, with_right_id(wire, key_id) if given.flags & RIGHT_ID else wire)


def record_form(wire: bytes, key_id: bytes, *, right_id: bool = False) -> bytes:
    """Return the input that asks for this record, by its fields where it is a good one."""
    flags = RIGHT_ID if right_id else 0
    try:
        record = parse_record(wire, key_id)
    except MalformedEnvelope:
        return join(flags | RAW, key_id, wire)
    return fields_form(record, flags)


def fields_form(record: Record, flags: int = 0) -> bytes:
    """Return the input that asks for ``record`` by its fields."""
    context = [text.encode() for entry in record.context for text in entry]
    recipients = [
        part
        for recipient in record.recipients
        for part in (recipient.key_id.encode(), recipient.key_version.encode(), recipient.ciphertext)
    ]
    fixed = bytes((record.purpose,)) + record.created.to_bytes(8, "big"), record.id, bytes((len(record.context),))
    return join(flags, *fixed, *context, *recipients)


def assemble_head(given: Sections) -> tuple[bytes, list[bytes]]:
    """Return a record's head, and the sections that are left for its recipients."""
    count = given[2][0] if given[2] else 0
    texts = given.after(_FIXED)[: 2 * count]
    entries = [(texts[at], texts[at + 1]) for at in range(0, len(texts) - 1, 2)]
    if given.flags & WITH_NAMESPACE:
        entries.append((b"temporal-namespace", b"fuzz"))
    if given.flags & SORTED:
        entries = sorted(dict(entries).items())
    parts = [_VERSION, given[0].ljust(9, b"\0")[:9], bytes((len(entries) & 0xFF,))]
    parts += [_sized(part) for entry in entries for part in entry]
    return b"".join(parts), given.after(_FIXED + 2 * count)


def assemble_recipients(parts: list[bytes], *, first_spelled: bool) -> bytes:
    """Return how many recipients these sections are, and the recipients."""
    whole = len(parts) // 3
    written = [_sized(part) for part in parts[: 3 * whole]]
    if written and not first_spelled:
        written[0] = _sized(b"")
    return bytes((whole & 0xFF,)) + b"".join(written)


def _assemble(given: Sections) -> tuple[bytes, bytes]:
    head, parts = assemble_head(given)
    record_id = given[1].ljust(32, b"\0")[:32]
    spelled = bool(given.flags & SPELLED)
    return parts[0] if parts else b"", head + record_id + assemble_recipients(parts, first_spelled=spelled)


def _sized(item: bytes) -> bytes:
    return len(item).to_bytes(2, "big") + item
