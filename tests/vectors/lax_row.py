"""A writer of keystore rows that obeys no rule: what it is told, it writes.

Its key is that of what it wrote, if it is not told another. So a bad row has the defect that its draft was given, and
no other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from tests.vectors.good_vectors import BASE
from tests.vectors.lax_writer import AWS, Draft, Recipient, derive, head, record_keys

TAG_KEY = bytes(range(0x60, 0x80))


@dataclass(frozen=True)
class Row:
    """Everything that goes into one row. What is None is as the record wants it."""

    record: Draft = BASE
    version: int = 1
    head: bytes | None = None
    head_length: int | None = None
    verified: tuple[Recipient, ...] = (AWS,)
    imported: tuple[Recipient, ...] = ()
    counts: tuple[int, int] | None = None
    tag: bytes = b""
    tag_length: int | None = None
    tail: bytes = b""
    key: bytes | None = None

    def but(self, **changes: object) -> Row:
        return replace(self, **changes)  # type: ignore[arg-type]


def row_head(row: Row) -> bytes:
    return head(row.record) if row.head is None else row.head


def row_id(row: Row) -> bytes:
    return record_keys(row.record)[1]


def row_key(row: Row) -> bytes:
    """Under which it is kept."""
    return hashlib.sha256(row_head(row) + row_id(row)).digest() if row.key is None else row.key


def tagged(row: Row) -> bytes:
    """The row's bytes from its version up to its last verified recipient."""
    length = len(row_head(row)) if row.head_length is None else row.head_length
    start = bytes([row.version]) + length.to_bytes(2, "big") + row_head(row) + row_id(row)
    return start + _list(row.verified, None if row.counts is None else row.counts[0])


def write(row: Row) -> bytes:
    """The row's bytes."""
    imported = _list(row.imported, None if row.counts is None else row.counts[1])
    length = len(row.tag) if row.tag_length is None else row.tag_length
    return tagged(row) + imported + bytes([length]) + row.tag + row.tail


def with_tag(row: Row) -> Row:
    """The row with its tag under `TAG_KEY`."""
    return row.but(tag=derive(TAG_KEY, b"envelope-codec/1 keystore", tagged(row))[0])


def _list(recipients: tuple[Recipient, ...], count: int | None) -> bytes:
    items = (one.key_id if one.spelled is None else one.spelled for one in recipients)
    spelled = zip(items, recipients, strict=True)
    written = b"".join(_sized(key_id) + _sized(one.key_version) + _sized(one.ciphertext) for key_id, one in spelled)
    return bytes([len(recipients) if count is None else count]) + written


def _sized(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value
