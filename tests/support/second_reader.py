"""A second reader of envelopes, version 1: written from SPEC.md, and knowing nothing of `envelope_codec`.

It stands on `cryptography`'s primitives and the standard library; Temporal's Payload message only parses what was
sealed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from itertools import pairwise

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload

Unwrap = Callable[[str, str, bytes, Mapping[str, str]], bytes]
BOUND = ("encoding", "encryption-data-key", "encryption-key-id", "encryption-wrapped-key")
PURPOSES = {1: "wrapping-key", 2: "data-key", 3: "shared-wrapping-key"}


def open_envelope(metadata: Mapping[str, bytes], data: bytes, unwrap: Unwrap) -> bytes:
    """The serialized inner Payload of one envelope.

    Args:
        metadata: of the sealed payload.
        data: of the sealed payload.
        unwrap: asks the KMS; takes key id, key version, ciphertext and KMS context, and raises ValueError where that
            master key is not configured or refuses.

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
    key = _unwrap_record(recipients, kms_context | {"envelope-codec:id": commitment.hex()}, head, unwrap)
    try:
        data_key = key if wrapped is None else aes_key_unwrap(key, wrapped)
        header = b"".join(_sized(name.encode(), 2) + _sized(metadata[name], 4) for name in BOUND if name in metadata)
        header = bytes([sum(name in metadata for name in BOUND)]) + header
        cipher_key, expected = _derive(data_key, b"envelope-codec/1 payload", header)
        if not hmac.compare_digest(expected, data[:32]):
            raise ValueError("the payload was made under another key or with other metadata")
        inner = AESGCM(cipher_key).decrypt(data[32:44], data[44:], None)
        payload = Payload.FromString(inner)
    except (InvalidUnwrap, InvalidTag, DecodeError):
        raise ValueError("the payload does not authenticate, or is no Payload") from None
    if "encryption-padding" not in payload.metadata:
        return inner
    del payload.metadata["encryption-padding"]
    return payload.SerializeToString(deterministic=True)


def _parse(
    record: bytes, first_key_id: bytes
) -> tuple[int, bytes, bytes, dict[str, str], list[tuple[str, str, bytes]]]:
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        piece, at = record[at : at + size], at + size
        _require(len(piece) == size, "record is whole")
        return piece

    def field(bound: int, what: str) -> bytes:
        piece = take(int.from_bytes(take(2), "big"))
        _require(len(piece) <= bound, f"{what} length")
        return piece

    _require(len(record) <= 16_384, "record length")
    _require(take(1) == b"\x01", "record version")
    purpose = int.from_bytes(take(1), "big")
    _require(purpose in PURPOSES, "purpose")
    take(8)  # created: any time
    entries = [
        (field(128, "context name"), field(4000, "context value")) for _ in range(int.from_bytes(take(1), "big"))
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
    head, commitment = record[:at], take(32)
    recipients = [
        (field(512, "key id"), field(256, "key version"), field(4096, "ciphertext"))
        for _ in range(int.from_bytes(take(1), "big"))
    ]
    _require(1 <= len(recipients) <= 8, "recipient count")
    _require(at == len(record), "no trailing bytes")
    _require(0 < len(first_key_id) <= 512, "encryption-key-id length")
    _require(not any(key_id for key_id, _, _ in recipients[:1]), "first key id empty")
    _require(all(key_id for key_id, _, _ in recipients[1:]), "other key ids not empty")
    _require(all(ciphertext for _, _, ciphertext in recipients), "ciphertext not empty")
    named = [(first_key_id, version, ciphertext) for _, version, ciphertext in recipients[:1]] + recipients[1:]
    _require(len({key_id for key_id, _, _ in named}) == len(named), "key ids distinct")
    return (
        purpose,
        head,
        commitment,
        {_text(name): _text(value) for name, value in entries},
        [(_text(key_id), _text(version), ciphertext) for key_id, version, ciphertext in named],
    )


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
            key, commitment = _derive(secret, b"envelope-codec/1 record", head)
            if hmac.compare_digest(commitment.hex(), context["envelope-codec:id"]):
                return key
    raise ValueError("no recipient opens the record")


def _derive(key: bytes, label: bytes, message: bytes) -> tuple[bytes, bytes]:
    info = label + b"\x00" + hashlib.sha256(message).digest()
    derived = HKDFExpand(SHA256(), 64, info).derive(key)
    return derived[:32], derived[32:]


def _sized(value: bytes, width: int) -> bytes:
    return len(value).to_bytes(width, "big") + value


def _text(raw: bytes) -> str:
    text = raw.decode(errors="replace")
    _require(text.encode() == raw, "UTF-8")
    return text


def _require(holds: bool, rule: str) -> None:
    """One rule of "what a reader must reject". A test looks in here, so that each vector is seen to break one rule."""
    if not holds:
        raise ValueError(f"malformed: {rule}")
