"""The wire format: seal and open one payload.

Bytes only: no I/O, no clock, no SDK. ``SPEC.md`` is the specification. This module implements it, and no other does.

A payload's data key is wrapped by a wrapping key (AES-256-KW). The wrapping key comes from a secret that the KMS wraps,
and travels as a `Record`. In direct mode there is no wrapping key: the record yields the data key itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property, lru_cache
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from envelope_codec._wire import Reader, sized, text
from envelope_codec.errors import InvalidCiphertext, MalformedEnvelope

ENCODING = b"binary/envelope-v1"
ENCODING_FAMILY = b"binary/envelope-"

# Metadata names, in the byte order in which a header lists them.
NAME_ENCODING = "encoding"
NAME_DATA_KEY = "encryption-data-key"
NAME_KEY_ID = "encryption-key-id"
NAME_RECORD = "encryption-wrapped-key"
_OURS = "encryption-"
_KNOWN = frozenset((NAME_DATA_KEY, NAME_KEY_ID, NAME_RECORD))

NAMESPACE = "temporal-namespace"
"""The context name that every record must have."""

CONTEXT_ID = "envelope-codec:id"
"""The name under which a KMS gets a record's id."""

RESERVED_CONTEXT = (b"aws:", b"envelope-codec:")

# Bounds, in bytes except for the two that count entries.
MAX_CONTEXT_NAME = 128
MAX_CONTEXT_VALUE = 4_000
MAX_CONTEXT = 6_000
MAX_KEY_ID = 512
MAX_KEY_VERSION = 256
MAX_CIPHERTEXT = 4_096
MAX_CONTEXT_ENTRIES = 253  # the KMS gets two more, and counts them in one byte
MAX_RECIPIENTS = 8
MAX_RECORD = 16_384
MIN_DATA = 60
SECRET_LENGTH = 32

_WRAPPED_DATA_KEY_LENGTH = 40
_NONCE_LENGTH = 12
_WORTH_A_VIEW = 16_384  # below, copying is quicker than making a view
_RECORD_LABEL = b"envelope-codec/1 record\0"
_PAYLOAD_LABEL = b"envelope-codec/1 payload\0"
_SHA256 = SHA256()


class Purpose(IntEnum):
    """What a record's secret is for. The record commits to it."""

    WRAPPING_KEY = 1
    DATA_KEY = 2
    SHARED_WRAPPING_KEY = 3


_DIRECT = Purpose.DATA_KEY  # a name of its own: before Python 3.12, looking up an enum's member is slow

_PURPOSE_IN_CONTEXT = {
    Purpose.WRAPPING_KEY: "wrapping-key",
    Purpose.DATA_KEY: "data-key",
    Purpose.SHARED_WRAPPING_KEY: "shared-wrapping-key",
}


@dataclass(frozen=True)
class Recipient:
    """One master key's ciphertext of a record's secret."""

    key_id: str
    key_version: str
    ciphertext: bytes


@dataclass(frozen=True, eq=False)
class Record:
    """A wrapping key (or, in direct mode, a data key) as it travels.

    Attributes:
        purpose: what the secret is for.
        created: Unix seconds at which the secret was made.
        context: name and value pairs, names ascending; ``temporal-namespace`` among them.
        id: 32 bytes that commit to the secret, the purpose, the age and the context.
        recipients: at least one; key ids are spelled out.
        head: the record's bytes before ``id``.
        wire: the record's bytes as metadata carries them; the first recipient's key id is left out.
    """

    purpose: Purpose
    created: int
    context: tuple[tuple[str, str], ...]
    id: bytes
    recipients: tuple[Recipient, ...]
    head: bytes
    wire: bytes
    allowed: object = field(default=None, init=False, repr=False)
    """A mark of the reader that checked last whether a recipient is configured. It says nothing by itself."""

    @cached_property
    def namespace(self) -> str:
        """The Temporal namespace in which this record seals."""
        return dict(self.context)[NAMESPACE]

    @cached_property
    def kms_context(self) -> dict[str, str]:
        """What the KMS binds to the wrapped secret."""
        return kms_context(self.purpose, self.context, self.id)

    @cached_property
    def key_id_bytes(self) -> bytes:
        """The first recipient's key id, as metadata carries it."""
        return self.recipients[0].key_id.encode()

    @cached_property
    def metadata(self) -> dict[str, bytes]:
        """The metadata that every payload under this record has."""
        return {NAME_ENCODING: ENCODING, NAME_KEY_ID: self.key_id_bytes, NAME_RECORD: self.wire}

    @cached_property
    def header_tail(self) -> bytes:
        """The last two entries of a payload's header, the same for every payload under this record."""
        return _header_entry(NAME_KEY_ID, self.key_id_bytes) + _header_entry(NAME_RECORD, self.wire)


class Head(NamedTuple):
    """What the bytes of a record before its id say. See `Record`."""

    purpose: Purpose
    created: int
    context: tuple[tuple[str, str], ...]


class Envelope(NamedTuple):
    """A sealed payload. Its form has been checked; its content has not been authenticated yet."""

    record: Record
    wrapped_data_key: bytes | None
    data: bytes


def kms_context(purpose: Purpose, context: Iterable[tuple[str, str]], record_id: bytes) -> dict[str, str]:
    """Return the record's context with the purpose and the record id, as every KMS gets it."""
    return {
        **dict(context),
        "envelope-codec:purpose": _PURPOSE_IN_CONTEXT[purpose],
        CONTEXT_ID: record_id.hex(),
    }


# --- making a record ----------------------------------------------------------------------------------------------


def record_head(purpose: Purpose, created: int, context: Mapping[str, str]) -> bytes:
    """Return the bytes of a record before its id.

    Raises:
        MalformedEnvelope: the context breaks a rule of the format.
    """
    try:
        entries = tuple(sorted((name.encode(), value.encode()) for name, value in context.items()))
    except UnicodeEncodeError:
        raise MalformedEnvelope("a context name or value is not valid Unicode") from None
    _check_context(entries)
    parts = [bytes((1, purpose)), created.to_bytes(8, "big"), bytes((len(entries),))]
    for name, value in entries:
        parts += [sized(name), sized(value)]
    return b"".join(parts)


def commit(secret: bytes, head: bytes) -> tuple[bytes, bytes]:
    """Return the key that ``secret`` yields under ``head``, and the record id that commits to both."""
    block = expand(secret, _RECORD_LABEL, head)
    return block[:32], block[32:]


def build_record(head: bytes, record_id: bytes, recipients: Iterable[Recipient]) -> Record:
    """Return the record with these recipients, checked as a reader checks it.

    Raises:
        MalformedEnvelope: a recipient breaks a bound, or two have one key id.
    """
    listed = tuple(recipients)
    parts = [head, record_id, bytes((len(listed),))]
    for index, recipient in enumerate(listed):
        key_id = recipient.key_id.encode() if index else b""
        parts += [sized(key_id), sized(recipient.key_version.encode()), sized(recipient.ciphertext)]
    return parse_record(b"".join(parts), listed[0].key_id.encode())


def unlock(record: Record, secret: bytes) -> bytes:
    """Return the key that a recipient's unwrapped ``secret`` yields. Check first that the record commits to it.

    Raises:
        InvalidCiphertext: the record commits to another secret; this recipient is corrupt.
    """
    try:
        return unlock_head(record.head, record.id, secret)
    finally:
        secret = b""  # an error keeps this frame


def unlock_head(head: bytes, record_id: bytes, secret: bytes) -> bytes:
    """Do the same as `unlock` with no more of the record than its ``head`` and its id."""
    reason = "a recipient unwraps to a secret of the wrong length"
    if len(secret) == SECRET_LENGTH:
        reason = "a recipient unwraps to another secret than its record's"
        key, found = commit(secret, head)
        if compare_digest(found, record_id):
            return key
    secret = key = b""  # the error keeps this frame
    raise InvalidCiphertext(reason, operation="unwrap")


# --- sealing ------------------------------------------------------------------------------------------------------


def seal(inner: bytes, record: Record, key: bytes) -> tuple[bytes | None, bytes]:
    """Seal one payload.

    Args:
        inner: the serialized payload to hide.
        record: the record that carries ``key``.
        key: its wrapping key, or in direct mode its data key, which must then seal this one payload only.

    Returns:
        The wrapped data key, which goes beside ``record.metadata``, and the sealed payload's data. In direct mode there
        is no wrapped data key: it is None.
    """
    if record.purpose is _DIRECT:
        data_key, wrapping_key, nonce = key, None, os.urandom(_NONCE_LENGTH)
    else:
        chance = os.urandom(32 + _NONCE_LENGTH)
        data_key, wrapping_key, nonce = chance[:32], key, chance[32:]
    wrapped, block = _payload_keys(record, data_key, wrapping_key)
    sealed = AESGCM(block[:32]).encrypt(nonce, inner, None)
    del inner  # or a large one would be in memory once more while the parts are joined
    return wrapped, block[32:] + nonce + sealed


def _seal_with(
    inner: bytes, record: Record, data_key: bytes, wrapping_key: bytes | None, nonce: bytes
) -> tuple[bytes | None, bytes]:
    """Seal as `seal` does, with a given data key and nonce: for test vectors.

    A nonce must never seal twice under one data key.
    """
    wrapped, block = _payload_keys(record, data_key, wrapping_key)
    return wrapped, block[32:] + nonce + AESGCM(block[:32]).encrypt(nonce, inner, None)


def _payload_keys(record: Record, data_key: bytes, wrapping_key: bytes | None) -> tuple[bytes | None, bytes]:
    """Return the wrapped data key, and the cipher key with the commitment."""
    wrapped = None if wrapping_key is None else aes_key_wrap(wrapping_key, data_key)
    return wrapped, expand(data_key, _PAYLOAD_LABEL, _header(record, wrapped))


# --- opening ------------------------------------------------------------------------------------------------------


def parse(metadata: Mapping[str, bytes], data: bytes) -> Envelope | None:
    """Check the form of a payload.

    Args:
        metadata: the payload's metadata.
        data: the payload's data.

    Returns:
        The envelope. None if the payload is no envelope and does not claim to be one.

    Raises:
        MalformedEnvelope: the payload claims to be an envelope, and is not a valid one of version 1.
    """
    encoding = metadata.get(NAME_ENCODING)
    wire = metadata.get(NAME_RECORD)
    if encoding != ENCODING:
        if encoding is not None and encoding.startswith(ENCODING_FAMILY):
            raise MalformedEnvelope("the envelope is of a version that this reader does not know")
        # Else one changed byte of the encoding would turn an envelope into a payload that passes through.
        if wire is not None:
            raise MalformedEnvelope("the payload carries a wrapped key, but its encoding is not an envelope's")
        return None
    key_id = metadata.get(NAME_KEY_ID)
    wrapped_data_key = metadata.get(NAME_DATA_KEY)
    if wire is None or key_id is None:
        raise MalformedEnvelope("the envelope lacks its wrapped key or its key id")
    if len(metadata) != 4 or wrapped_data_key is None:
        for name in metadata:
            if name.startswith(_OURS) and name not in _KNOWN:
                raise MalformedEnvelope("the envelope has an unknown encryption- entry")
    if len(data) < MIN_DATA:
        raise MalformedEnvelope("the envelope's data is too short")
    record = parse_record(wire, key_id)
    if (wrapped_data_key is None) is not (record.purpose is _DIRECT):
        raise MalformedEnvelope("the envelope has a data key where its record allows none, or lacks one")
    if wrapped_data_key is not None and len(wrapped_data_key) != _WRAPPED_DATA_KEY_LENGTH:
        raise MalformedEnvelope("the envelope's data key has the wrong length")
    return Envelope(record, wrapped_data_key, data)


def open_envelope(envelope: Envelope, key: bytes) -> bytes:
    """Authenticate and decrypt a payload: return the serialized inner payload.

    Args:
        envelope: what `parse` returned.
        key: what the envelope's record yields: the wrapping key, or in direct mode the data key.

    Raises:
        InvalidCiphertext: any byte of the envelope is not what was sealed.
    """
    wrapped = envelope.wrapped_data_key
    reason = "the data key does not unwrap"
    try:
        data_key = key if wrapped is None else aes_key_unwrap(key, wrapped)
        reason = "the payload is not what was sealed"
        block = expand(data_key, _PAYLOAD_LABEL, _header(envelope.record, wrapped))
        data = envelope.data
        if compare_digest(block[32:], data[:32]):
            sealed = data[44:] if len(data) < _WORTH_A_VIEW else memoryview(data)[44:]
            return AESGCM(block[:32]).decrypt(data[32:44], sealed, None)
    except (InvalidUnwrap, InvalidTag):
        pass  # raised below, or the frames of `cryptography` would go along, keys and all
    key = data_key = block = b""  # the error keeps this frame
    raise InvalidCiphertext(reason, operation="open")


# Every payload under one wrapping key carries the same record: parse it once. An entry takes some 60 KiB at most.
@lru_cache(maxsize=512)
def parse_record(wire: bytes, key_id: bytes) -> Record:
    """Check a record, and take it apart.

    Args:
        wire: the record as metadata carries it.
        key_id: the key id of its first recipient, as metadata carries it.

    Raises:
        MalformedEnvelope: any rule of the format is broken.
    """
    if len(wire) > MAX_RECORD:
        raise MalformedEnvelope("the record is too long")
    reader = Reader(wire)
    purpose, created, context = _read_head(reader)
    head = wire[: reader.position]
    record_id = reader.take(32)
    count = reader.byte()
    if not 1 <= count <= MAX_RECIPIENTS:
        raise MalformedEnvelope("the record has no recipient, or too many")
    recipients = (_read_first_recipient(reader, key_id), *(read_recipient(reader) for _ in range(1, count)))
    if len({recipient.key_id for recipient in recipients}) != count:
        raise MalformedEnvelope("two recipients of the record have one key id")
    if not reader.at_end:
        raise MalformedEnvelope("the record has bytes after its end")
    return Record(purpose, created, context, record_id, recipients, head, wire)


def parse_head(head: bytes) -> Head:
    """Check the head of a record, and take it apart.

    Raises:
        MalformedEnvelope: any rule of the format is broken, or ``head`` has bytes after its end.
    """
    reader = Reader(head, "record's head")
    parsed = _read_head(reader)
    if not reader.at_end:
        raise MalformedEnvelope("the record's head has bytes after its end")
    return parsed


def _read_head(reader: Reader) -> Head:
    if reader.byte() != 1:
        raise MalformedEnvelope("the record is of a version that this reader does not know")
    try:
        purpose = Purpose(reader.byte())
    except ValueError:
        raise MalformedEnvelope("the record's purpose is unknown") from None
    created = int.from_bytes(reader.take(8), "big")
    entries = tuple((reader.item(), reader.item()) for _ in range(reader.byte()))
    _check_context(entries)
    return Head(purpose, created, tuple((text(name), text(value)) for name, value in entries))


def read_recipient(reader: Reader) -> Recipient:
    """Read the next recipient, whose key id is spelled out.

    Raises:
        MalformedEnvelope: it breaks a bound.
    """
    return _check_recipient(reader.item(), reader.item(), reader.item())


def _read_first_recipient(reader: Reader, key_id: bytes) -> Recipient:
    spelled, key_version, ciphertext = reader.item(), reader.item(), reader.item()
    if spelled:
        raise MalformedEnvelope("the first recipient spells out its key id")
    return _check_recipient(key_id, key_version, ciphertext)


def _check_recipient(key_id: bytes, key_version: bytes, ciphertext: bytes) -> Recipient:
    if not 1 <= len(key_id) <= MAX_KEY_ID:
        raise MalformedEnvelope("a key id is empty or too long")
    if len(key_version) > MAX_KEY_VERSION:
        raise MalformedEnvelope("a key version is too long")
    if not 1 <= len(ciphertext) <= MAX_CIPHERTEXT:
        raise MalformedEnvelope("a recipient's ciphertext is empty or too long")
    return Recipient(text(key_id), text(key_version), ciphertext)


def _check_context(entries: tuple[tuple[bytes, bytes], ...]) -> None:
    if len(entries) > MAX_CONTEXT_ENTRIES or sum(len(name) + len(value) for name, value in entries) > MAX_CONTEXT:
        raise MalformedEnvelope("the context is too long")
    previous, seen = b"", set[bytes]()
    for name, value in entries:
        if not 1 <= len(name) <= MAX_CONTEXT_NAME or not 1 <= len(value) <= MAX_CONTEXT_VALUE:
            raise MalformedEnvelope("a context name or value is empty or too long")
        if name <= previous:
            raise MalformedEnvelope("the context's names are not in strictly ascending order")
        folded = name.lower()  # a KMS may ignore the case of A-Z in its rules
        if folded.startswith(RESERVED_CONTEXT) or folded in seen:
            raise MalformedEnvelope("a context name is reserved, or differs from another in case only")
        seen.add(folded)
        previous = name
    if NAMESPACE.encode() not in dict(entries):
        raise MalformedEnvelope("the context lacks the Temporal namespace")


# --- both ways ----------------------------------------------------------------------------------------------------


def expand(key: bytes, label: bytes, message: bytes) -> bytes:
    """Return the 64 bytes of ``E``. The zero byte after the label is in ``label``."""
    return HKDFExpand(_SHA256, 64, label + sha256(message).digest()).derive(key)


def _header_entry(name: str, value: bytes) -> bytes:
    return len(name).to_bytes(2, "big") + name.encode() + len(value).to_bytes(4, "big") + value


_HEADER_OF_DIRECT = bytes((3,)) + _header_entry(NAME_ENCODING, ENCODING)
_HEADER_START = (
    bytes((4,))
    + _header_entry(NAME_ENCODING, ENCODING)
    + _header_entry(NAME_DATA_KEY, bytes(_WRAPPED_DATA_KEY_LENGTH))[:-_WRAPPED_DATA_KEY_LENGTH]
)


def _header(record: Record, wrapped_data_key: bytes | None) -> bytes:
    if wrapped_data_key is None:
        return _HEADER_OF_DIRECT + record.header_tail
    return _HEADER_START + wrapped_data_key + record.header_tail
