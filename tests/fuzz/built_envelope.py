"""Envelopes as inputs: any bytes in the places of an envelope's parts, or content that is sealed as writers do."""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from envelope_codec.envelope import (
    ENCODING,
    NAME_DATA_KEY,
    NAME_ENCODING,
    NAME_KEY_ID,
    NAME_RECORD,
    Purpose,
    _seal_with,
    commit,
    parse_record,
)
from envelope_codec.errors import MalformedEnvelope
from tests.fuzz.built_record import build_record, record_form
from tests.fuzz.known_key import secret_of
from tests.fuzz.sections import Sections, join

SEALED, TAMPERED = 1, 2
WITHOUT = {4: NAME_ENCODING, 8: NAME_KEY_ID, 16: NAME_RECORD, 32: NAME_DATA_KEY}
OTHER_ENCODING = 64


class BuiltEnvelope(NamedTuple):
    """What an input asks for.

    Attributes:
        metadata: of the payload.
        data: of the payload.
        content: what was sealed; None if nothing was, so that nothing must come out.
    """

    metadata: dict[str, bytes]
    data: bytes
    content: bytes | None


def build_envelope(form: bytes) -> BuiltEnvelope:
    """Return the payload that an input asks for.

    Sections: the record, the data (or the content to seal), the data key, an encoding, changes (of three bytes each:
    where, and what is to be flipped), then names and values of further metadata.
    """
    given = Sections(form)
    key_id, wire = build_record(given[0])
    data_key, data, content = given[2], given[1], None
    if given.flags & SEALED:
        sealed = _seal(key_id, wire, data, data_key)
        if sealed is not None:
            content, (data_key, data) = data, sealed
    metadata = {NAME_ENCODING: ENCODING, NAME_KEY_ID: key_id, NAME_RECORD: wire, NAME_DATA_KEY: data_key}
    if given.flags & OTHER_ENCODING:
        metadata[NAME_ENCODING] = given[3]
    if given.flags & TAMPERED:
        data = _tamper(metadata, data, given[4])
    if not data_key and content is not None:
        del metadata[NAME_DATA_KEY]
    for flag, name in WITHOUT.items():
        if given.flags & flag:
            metadata.pop(name, None)
    more = given.after(5)
    for other, value in zip(more[::2], more[1::2], strict=False):
        metadata.setdefault(other.decode("utf-8", "replace"), value)
    return BuiltEnvelope(metadata, data, content)


def envelope_form(metadata: dict[str, bytes], data: bytes) -> bytes:
    """Return the input that asks for this payload, which has an envelope's parts or lacks some of them."""
    record = record_form(metadata.get(NAME_RECORD, b""), metadata.get(NAME_KEY_ID, b""))
    flags = sum(flag for flag, name in WITHOUT.items() if name not in metadata)
    encoding = metadata.get(NAME_ENCODING, b"")
    if encoding != ENCODING:
        flags |= OTHER_ENCODING
    more = [part for name in metadata.keys() - set(WITHOUT.values()) for part in (name.encode(), metadata[name])]
    return join(flags, record, data, metadata.get(NAME_DATA_KEY, b""), encoding, b"", *more)


def sealed_form(record: bytes, content: bytes, tampering: bytes = b"") -> bytes:
    """Return the input that asks for ``content``, sealed under the record that ``record`` asks for."""
    return join(SEALED | (TAMPERED if tampering else 0), record, content, b"data key", b"", tampering)


def _seal(key_id: bytes, wire: bytes, content: bytes, data_key: bytes) -> tuple[bytes, bytes] | None:
    try:
        record = parse_record(wire, key_id)
    except MalformedEnvelope:
        return None
    key, _ = commit(secret_of(record.recipients[0].ciphertext), record.head)
    direct = record.purpose is Purpose.DATA_KEY
    data_key = key if direct else sha256(data_key).digest()
    wrapped, data = _seal_with(content, record, data_key, None if direct else key, sha256(content).digest()[:12])
    return wrapped or b"", data


def _tamper(metadata: dict[str, bytes], data: bytes, changes: bytes) -> bytes:
    """Flip bits in the bound parts. Return the data as it is then."""
    parts = {NAME_RECORD: metadata[NAME_RECORD], NAME_DATA_KEY: metadata[NAME_DATA_KEY], "": data}
    parts[NAME_KEY_ID] = metadata[NAME_KEY_ID]
    whole = bytearray(b"".join(parts.values()))
    for at in range(0, len(changes) - 2, 3):
        if whole:
            whole[int.from_bytes(changes[at : at + 2], "big") % len(whole)] ^= changes[at + 2]
    begin = 0
    for name, part in parts.items():
        changed = bytes(whole[begin : begin + len(part)])
        begin += len(part)
        if name:
            metadata[name] = changed
        else:
            data = changed
    return data
