"""A keystore's rows: a wrapping key's record as a keystore keeps it, with the recipients that were added later.

Bytes only: no I/O, no clock. ``SPEC.md`` has the format, under "Keystore row". `envelope_codec.keystore_change` has
what may become of a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from hmac import compare_digest

from envelope_codec._wire import Reader, sized
from envelope_codec.envelope import (
    MAX_KEY_ID,
    MAX_RECIPIENTS,
    MAX_RECORD,
    NAMESPACE,
    Purpose,
    Recipient,
    Record,
    expand,
    kms_context,
    parse_head,
    read_recipient,
)
from envelope_codec.errors import MalformedEnvelope

MAX_ROW = 65_536
"""Bytes of a row."""

MAX_IMPORTED = MAX_RECORD + MAX_KEY_ID
"""Bytes of all imported recipients: those of one record fit, and eight verified ones always fit beside them."""

_VERSION = 1
_TAG_LENGTH = 32
_TAG_LABEL = b"envelope-codec/1 keystore\0"


class MalformedRow(Exception):
    """Bytes that are no valid row of version 1. Whoever reads them counts them, and goes on as if they were not there.

    Args:
        reason: fixed text, for a log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class KeystoreRow:
    """What a keystore keeps of one wrapping key.

    "Verified" is an order of asking and a right of way between writers. It is never a reason to trust a recipient: only
    a secret that leads to the id is.

    Attributes:
        head: the record's bytes before its id.
        id: the record's.
        purpose: the head says it; never `Purpose.DATA_KEY`.
        created: Unix seconds; the head says it.
        context: names and values; the head says it.
        verified: recipients that somebody unwrapped, or made, before they were added; in the record's own order.
        imported: recipients that were found in a history, and that nobody has unwrapped. They are asked last.
        tag: 32 bytes that authenticate all up to the last verified recipient, or none.
    """

    head: bytes
    id: bytes
    purpose: Purpose
    created: int
    context: tuple[tuple[str, str], ...]
    verified: tuple[Recipient, ...]
    imported: tuple[Recipient, ...] = ()
    tag: bytes = b""

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """All recipients, in the order in which they are asked."""
        return self.verified + self.imported

    @cached_property
    def key(self) -> bytes:
        """The 32 bytes under which a keystore keeps this row."""
        return _key(self.head, self.id)

    @cached_property
    def namespace(self) -> str:
        """The Temporal namespace in which the record seals."""
        return dict(self.context)[NAMESPACE]

    @cached_property
    def kms_context(self) -> dict[str, str]:
        """What the KMS binds to the wrapped secret."""
        return kms_context(self.purpose, self.context, self.id)

    @cached_property
    def tagged(self) -> bytes:
        """The row's bytes up to the last verified recipient: what a tag authenticates."""
        parts = [bytes((_VERSION,)), sized(self.head), self.id, _serialize(self.verified)]
        return b"".join(parts)

    def belongs_to(self, record: Record) -> bool:
        """Return whether this is the row of ``record``: head and id are the same, byte for byte."""
        return self.head == record.head and compare_digest(self.id, record.id)

    def serialize(self) -> bytes:
        """Return the row's bytes, as a keystore keeps them."""
        return self.tagged + _serialize(self.imported) + bytes((len(self.tag),)) + self.tag


def row_key(record: Record) -> bytes:
    """Return the 32 bytes under which a keystore keeps the row of ``record``."""
    return _key(record.head, record.id)


def make_tag(row: KeystoreRow, key: bytes) -> bytes:
    """Return the tag of ``row`` under ``key``, which is 32 bytes that only those have who may say so."""
    return expand(key, _TAG_LABEL, row.tagged)[:_TAG_LENGTH]


# --- reading ------------------------------------------------------------------------------------------------------


def parse_row(key: bytes, data: bytes) -> KeystoreRow:
    """Check a row, and take it apart.

    Args:
        key: under which the keystore keeps it.
        data: the row's bytes.

    Raises:
        MalformedRow: any rule of the format is broken.
    """
    if len(data) > MAX_ROW:
        raise MalformedRow("the row is too long")
    try:
        return _parse(key, data)
    except MalformedEnvelope as error:
        reason = error.reason
    raise MalformedRow(reason)


def _parse(key: bytes, data: bytes) -> KeystoreRow:
    reader = Reader(data, "row")
    if reader.byte() != _VERSION:
        raise MalformedRow("the row is of a version that this reader does not know")
    head = reader.item()
    purpose, created, context = parse_head(head)
    if purpose is Purpose.DATA_KEY:
        raise MalformedRow("the row is of a data key, which serves one payload and is not kept")
    record_id = reader.take(32)
    if not compare_digest(_key(head, record_id), key):
        raise MalformedRow("the row is not of the key under which it is kept")
    verified, imported = _read_recipients(reader), _read_recipients(reader)
    _check_recipients(verified, imported)
    tag = reader.take(reader.byte())
    if len(tag) not in (0, _TAG_LENGTH):
        raise MalformedRow("the row's tag has the wrong length")
    if not reader.at_end:
        raise MalformedRow("the row has bytes after its end")
    return KeystoreRow(head, record_id, purpose, created, context, verified, imported, tag)


def _read_recipients(reader: Reader) -> tuple[Recipient, ...]:
    count = reader.byte()
    if count > MAX_RECIPIENTS:
        raise MalformedRow("the row has too many recipients")
    return tuple(read_recipient(reader) for _ in range(count))


def _check_recipients(verified: tuple[Recipient, ...], imported: tuple[Recipient, ...]) -> None:
    if not verified and not imported:
        raise MalformedRow("the row has no recipient")
    names = {recipient.key_id for recipient in verified}
    if len(names) != len(verified) or any(recipient.key_id in names for recipient in imported):
        raise MalformedRow("two recipients of the row have one key id, and one of them is verified")
    if len(set(imported)) != len(imported):
        raise MalformedRow("two imported recipients of the row are the same")
    if size_of(imported) > MAX_IMPORTED:
        raise MalformedRow("the row's imported recipients are too long")


# --- both ways ----------------------------------------------------------------------------------------------------


def _key(head: bytes, record_id: bytes) -> bytes:
    return sha256(head + record_id).digest()


def _serialize(recipients: tuple[Recipient, ...]) -> bytes:
    return bytes((len(recipients),)) + b"".join(map(_item, recipients))


def size_of(recipients: Iterable[Recipient]) -> int:
    """Return how many bytes these recipients are in a row."""
    return sum(len(_item(recipient)) for recipient in recipients)


def _item(recipient: Recipient) -> bytes:
    key_id, key_version = recipient.key_id.encode(), recipient.key_version.encode()
    return sized(key_id) + sized(key_version) + sized(recipient.ciphertext)
