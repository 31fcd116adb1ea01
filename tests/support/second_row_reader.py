"""A second reader of keystore rows, version 1: written from SPEC.md, and knowing nothing of `envelope_codec`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tests.support import second_reader
from tests.support.second_reader import Fields, as_text, read_head, read_recipients

Recipients = list[tuple[str, str, bytes]]


@dataclass(frozen=True)
class Row:
    """What one row says. A recipient is key id, key version and ciphertext."""

    purpose: int
    created: int
    context: dict[str, str]
    id: bytes
    verified: Recipients
    imported: Recipients
    tag: bytes
    tagged: bytes


def read_row(key: bytes, data: bytes) -> Row:
    """The row that a keystore keeps under ``key``.

    Raises:
        ValueError: it breaks a rule, and so it is absent.
    """
    _require(len(data) <= 65_536, "row length")
    fields = Fields(data, "row")
    _require(fields.take(1) == b"\x01", "row version")
    head = Fields(fields.take(fields.number(2)), "row's head")
    purpose, created, context = read_head(head)
    _require(head.at == len(head.whole), "row's head is a head and nothing else")
    _require(purpose in (1, 3), "row's purpose")
    commitment = fields.take(32)
    _require(hashlib.sha256(head.whole + commitment).digest() == key, "row's key")
    verified, end = read_recipients(fields), fields.at
    imported, size = read_recipients(fields), fields.at - end - 1
    _require(len(verified) <= 8 and len(imported) <= 8, "row's recipient counts")
    _require(bool(verified or imported), "row has a recipient")
    _require(all(key_id for key_id, _, _ in verified + imported), "row's key ids not empty")
    names = [key_id for key_id, _, _ in verified]
    _require(len(set(names)) == len(names), "row's verified key ids distinct")
    _require(not any(key_id in names for key_id, _, _ in imported), "row's imported key ids not verified")
    _require(len(set(imported)) == len(imported), "row's imported ones distinct")
    _require(size <= 16_896, "row's imported length")
    tag = fields.take(fields.number(1))
    _require(len(tag) in (0, 32), "row's tag length")
    _require(fields.at == len(data), "row has no trailing bytes")
    return Row(
        purpose,
        created,
        context,
        commitment,
        [as_text(recipient) for recipient in verified],
        [as_text(recipient) for recipient in imported],
        tag,
        data[:end],
    )


def row_tag(key: bytes, row: Row) -> bytes:
    """The tag that a row should have under a key of its writers."""
    return second_reader.derive(key, b"envelope-codec/1 keystore", row.tagged)[0]


def _require(holds: bool, rule: str) -> None:
    second_reader._require(holds, rule)
