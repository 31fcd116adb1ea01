"""A second reader of envelopes, version 1: written from SPEC.md, and knowing nothing of `envelope_codec`.

It stands on `cryptography`'s primitives and the standard library, and for zstd on `zstandard`, another binding than the
library's. Temporal's Payload message only parses what was sealed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from io import SEEK_CUR, BytesIO
from itertools import pairwise

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload

Unwrap = Callable[[str, str, bytes, Mapping[str, str]], bytes]
FindRow = Callable[[bytes, bytes], list[tuple[str, str, bytes]]]
BOUND = ("encoding", "encryption-data-key", "encryption-key-id", "encryption-wrapped-key")
PURPOSES = {1: "wrapping-key", 2: "data-key", 3: "shared-wrapping-key"}


def open_envelope(
    metadata: Mapping[str, bytes],
    data: bytes,
    unwrap: Unwrap,
    max_payload: int = 2**26,
    find_row: FindRow = lambda head, commitment: [],
) -> bytes:
    """The serialized inner Payload of one envelope.

    Args:
        metadata: of the sealed payload.
        data: of the sealed payload.
        unwrap: asks the KMS; takes key id, key version, ciphertext and KMS context, and raises ValueError where that
            master key is not configured or refuses.
        max_payload: how many bytes a compressed Payload may yield.
        find_row: looks into the keystore; takes a record's head and id, and gives its row's recipients.

    Raises:
        ValueError: it is not a valid envelope, or it does not authenticate.
    """
    _require(metadata.get("encoding") == b"binary/envelope-v1", "encoding")
    _require(all(name in BOUND for name in metadata if name.startswith("encryption-")), "metadata names")
    _require({"encryption-key-id", "encryption-wrapped-key"} <= set(metadata), "metadata present")
    _require(len(data) >= 60, "data length")
    record, wrapped = metadata.get("encryption-wrapped-key", b""), metadata.get("encryption-data-key")
    purpose, head, commitment, context, recipients = _parse(record, metadata.get("encryption-key-id", b""))
    _require((wrapped is None) == (purpose == 2), "data key where the purpose wants one")
    _require(wrapped is None or len(wrapped) == 40, "data key length")

    kms_context = {**context, "envelope-codec:purpose": PURPOSES.get(purpose, "unknown")}
    if purpose != 2:
        recipients += find_row(head, commitment)
    key = _unwrap_record(recipients, kms_context | {"envelope-codec:id": commitment.hex()}, head, unwrap)
    try:
        data_key = key if wrapped is None else aes_key_unwrap(key, wrapped)
        header = b"".join(_sized(name.encode(), 2) + _sized(metadata[name], 4) for name in BOUND if name in metadata)
        header = bytes([sum(name in metadata for name in BOUND)]) + header
        cipher_key, expected = derive(data_key, b"envelope-codec/1 payload", header)
        if not hmac.compare_digest(expected, data[:32]):
            raise ValueError("the payload was made under another key or with other metadata")
        inner = AESGCM(cipher_key).decrypt(data[32:44], data[44:], None)
        payload = Payload.FromString(inner)
        if payload.metadata.get("encoding") == b"binary/zstd-payload-v1":
            inner = _decompress(payload, max_payload)
            check_fields(inner)
            payload = Payload.FromString(inner)
    except (InvalidUnwrap, InvalidTag, DecodeError):
        raise ValueError("the payload does not authenticate, or is no Payload") from None
    if "encryption-padding" not in payload.metadata:
        return inner
    del payload.metadata["encryption-padding"]
    return payload.SerializeToString(deterministic=True)


class Fields:
    """Bytes that are read field by field."""

    def __init__(self, whole: bytes, what: str = "record") -> None:
        self.whole, self.what, self.at = whole, what, 0

    def take(self, size: int) -> bytes:
        piece, self.at = self.whole[self.at : self.at + size], self.at + size
        _require(len(piece) == size, f"{self.what} is whole")
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def field(self, bound: int, what: str) -> bytes:
        piece = self.take(self.number(2))
        _require(len(piece) <= bound, f"{what} length")
        return piece


def read_head(fields: Fields) -> tuple[int, int, dict[str, str]]:
    """Purpose, created and context of a record's head."""
    _require(fields.take(1) == b"\x01", "record version")
    purpose = fields.number(1)
    _require(purpose in PURPOSES, "purpose")
    created = fields.number(8)
    entries = [
        (fields.field(128, "context name"), fields.field(4000, "context value")) for _ in range(fields.number(1))
    ]
    names = [name for name, _ in entries]
    _require(len(entries) <= 253, "context count")
    _require(all(map(len, names)) and all(len(value) for _, value in entries), "context not empty")
    _require(sum(len(name) + len(value) for name, value in entries) <= 6000, "context length")
    _require(all(one < other for one, other in pairwise(names)), "context names ascend")
    _require(b"temporal-namespace" in names, "namespace present")
    folded = {name.lower() for name in names}
    _require(len(folded) == len(names) or len(set(names)) < len(names), "context names differ in more than case")
    _require(not any(name.startswith((b"aws:", b"envelope-codec:")) for name in folded), "context names reserved")
    return purpose, created, {_text(name): _text(value) for name, value in entries}


def read_recipients(fields: Fields) -> list[tuple[bytes, bytes, bytes]]:
    """Key id, key version and ciphertext of each recipient of a list."""
    found = [
        (fields.field(512, "key id"), fields.field(256, "key version"), fields.field(4096, "ciphertext"))
        for _ in range(fields.number(1))
    ]
    _require(all(ciphertext for _, _, ciphertext in found), "ciphertext not empty")
    return found


def _parse(
    record: bytes, first_key_id: bytes
) -> tuple[int, bytes, bytes, dict[str, str], list[tuple[str, str, bytes]]]:
    _require(len(record) <= 16_384, "record length")
    fields = Fields(record)
    purpose, _, context = read_head(fields)  # created: any time
    head, commitment = record[: fields.at], fields.take(32)
    recipients = read_recipients(fields)
    _require(1 <= len(recipients) <= 8, "recipient count")
    _require(fields.at == len(record), "no trailing bytes")
    _require(0 < len(first_key_id) <= 512, "encryption-key-id length")
    _require(not any(key_id for key_id, _, _ in recipients[:1]), "first key id empty")
    _require(all(key_id for key_id, _, _ in recipients[1:]), "other key ids not empty")
    named = [(first_key_id, version, ciphertext) for _, version, ciphertext in recipients[:1]] + recipients[1:]
    _require(len({key_id for key_id, _, _ in named}) == len(named), "key ids distinct")
    return purpose, head, commitment, context, [as_text(recipient) for recipient in named]


def as_text(recipient: tuple[bytes, bytes, bytes]) -> tuple[str, str, bytes]:
    """A recipient with its texts read."""
    key_id, version, ciphertext = recipient
    return _text(key_id), _text(version), ciphertext


def _unwrap_record(
    recipients: list[tuple[str, str, bytes]], context: Mapping[str, str], head: bytes, unwrap: Unwrap
) -> bytes:
    """The wrapping key (direct mode: the data key), from the first recipient that serves."""
    for key_id, version, ciphertext in recipients:
        try:
            secret = unwrap(key_id, version, ciphertext, context)
        except ValueError:
            continue
        if len(secret) == 32:
            key, commitment = derive(secret, b"envelope-codec/1 record", head)
            if hmac.compare_digest(commitment.hex(), context["envelope-codec:id"]):
                return key
    raise ValueError("no recipient opens the record")


def derive(key: bytes, label: bytes, message: bytes) -> tuple[bytes, bytes]:
    """E(k, label, m), as its two halves."""
    info = label + b"\x00" + hashlib.sha256(message).digest()
    derived = HKDFExpand(SHA256(), 64, info).derive(key)
    return derived[:32], derived[32:]


def _decompress(payload: Payload, max_payload: int) -> bytes:
    """What a compressed Payload yields."""
    names = {name for name in payload.metadata if name not in ("encoding", "encryption-padding")}
    _require_compressed(not names, "metadata")
    rest = Payload()
    rest.CopyFrom(payload)
    rest.ClearField("metadata")
    rest.ClearField("data")
    _require_compressed(not rest.SerializeToString(), "no other fields")
    size, frame = int.from_bytes(payload.data[:4], "big"), payload.data[4:]
    _require_compressed(size > 0, "size is not 0")
    _require_compressed(size <= max_payload, "size within max_payload")
    _require_compressed(size <= 65_536 + 256 * len(frame), "size within the ratio")
    _require_compressed(frame[:4].hex() == "28b52ffd", "magic number")
    descriptor, width = _field(frame, 4), (0, 2, 4, 8)
    single = bool(descriptor & 0x20)
    _require_compressed(not descriptor & 0x08, "reserved bit")
    _require_compressed(not descriptor & 0x03, "no dictionary")
    at = 5 + (not single) + (0, 1, 2, 4)[descriptor & 0x03]
    length = width[descriptor >> 6] or int(single)
    content = int.from_bytes(frame[at : at + length], "little") + (256 if length == 2 else 0)
    _require_compressed(not length or content == size, "content size")
    exponent, mantissa = divmod(_field(frame, 5), 8)
    window = content if single else (8 + mantissa) << (7 + exponent)
    _require_compressed(window <= 8 * 2**20, "window")
    return _frame_content(frame, size)


def _field(frame: bytes, at: int) -> int:
    return int.from_bytes(frame[at : at + 1], "big")


def _frame_content(frame: bytes, size: int) -> bytes:
    """What a frame yields, in steps of 32 bytes of it, which are 1 MiB of content at most."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()
    content, at = b"", 0
    try:
        while at < len(frame) and not decompressor.eof:
            content += decompressor.decompress(frame[at : at + 32])
            at += 32
            _require_compressed(len(content) <= size, "no more than size bytes")
    except zstandard.ZstdError:
        raise ValueError("the frame is damaged") from None
    _require_compressed(decompressor.eof, "the frame ends")
    _require_compressed(not decompressor.unused_data and at >= len(frame), "nothing after the frame")
    _require_compressed(len(content) >= size, "no less than size bytes")
    return content


def check_fields(content: bytes) -> None:
    """Hold a serialized Payload to the bounds of one that was compressed.

    Raises:
        ValueError: it does not keep them, or is none.
    """
    stream = BytesIO(content)
    fields, beside = 0, len(content)
    while stream.tell() < len(content):
        fields += 1
        number, wire_type = divmod(_varint(stream), 8)
        if wire_type == 0:
            _varint(stream)
        elif wire_type == 1:
            _value(stream, 8)
        elif wire_type == 2:
            value = _value(stream, _varint(stream))
            beside -= len(value) if number == 2 else 0
        elif wire_type == 5:
            _value(stream, 4)
        elif wire_type > 5:
            raise ValueError("what was decompressed is no Payload: wire type")
    _require_compressed(fields <= 1024, "fields")
    _require_compressed(beside <= 65_536, "bytes beside data")


def _varint(stream: BytesIO) -> int:
    number = 0
    for group in range(10):
        byte = _value(stream, 1)[0]
        number += byte % 128 << 7 * group
        if byte < 128:
            return number
    raise ValueError("what was decompressed is no Payload: varint")


def _value(stream: BytesIO, length: int) -> memoryview:
    piece = stream.getbuffer()[stream.tell() :][:length]
    if len(piece) < length:
        raise ValueError("what was decompressed is no Payload: it is cut")
    stream.seek(length, SEEK_CUR)
    return piece


def _sized(value: bytes, width: int) -> bytes:
    return len(value).to_bytes(width, "big") + value


def _text(raw: bytes) -> str:
    text = raw.decode(errors="replace")
    _require(text.encode() == raw, "UTF-8")
    return text


def _require_compressed(holds: bool, rule: str) -> None:
    """One rule for compressed Payloads."""
    if not holds:
        raise ValueError(f"compressed: {rule}")


def _require(holds: bool, rule: str) -> None:
    """One rule of "what a reader must reject". A test looks in here, so that each vector is seen to break one rule."""
    if not holds:
        raise ValueError(f"malformed: {rule}")
