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


@dataclass(frozen=True)
class Sharer:
    """Who might seal with a wrapping key that another made: what it binds and wraps by, and its clock."""

    context: dict[str, str]
    key_ids: list[str]
    now: int
    max_age: int


def slot_of(sharer: Sharer) -> bytes:
    """Under which key the active slot of a sharer is kept."""
    section = bytes([len(sharer.context)])
    for name, value in sorted((name.encode(), value.encode()) for name, value in sharer.context.items()):
        section += _sized(name) + _sized(value)
    names = b"".join(map(_sized, sorted(key_id.encode() for key_id in sharer.key_ids)))
    return hashlib.sha256(b"envelope-codec/1 slot\x00" + _sized(section) + names).digest()


def row_in_slot(slot: bytes) -> bytes:
    """The key of the row that an active slot names."""
    _require(len(slot) == 34 and slot[:2] == b"\0\1", "slot")
    return slot[2:]


def check_adopting(row: Row, sharer: Sharer, auth_keys: list[bytes], secret: bytes, head: bytes) -> None:
    """Check that a sharer may seal with the wrapping key of a row, whose recipient unwraps to ``secret``.

    Raises:
        ValueError: it may not.
    """
    _require(row.purpose == 3, "purpose")
    _require(row.created > 0, "auth")
    _require(row.context == sharer.context, "context")
    _require({key_id for key_id, _, _ in row.verified} == set(sharer.key_ids), "recipients")
    _require(10 * (sharer.now - row.created) < 9 * sharer.max_age, "too-old")
    _require(row.created - sharer.now <= 60, "future")
    _require(bool(row.tag) and row.tag in [row_tag(key, row) for key in auth_keys], "tag")
    _require(second_reader.derive(secret, b"envelope-codec/1 record", head)[1] == row.id, "id")


def _sized(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def _require(holds: bool, rule: str) -> None:
    second_reader._require(holds, rule)
