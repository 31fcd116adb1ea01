"""The worked example of SPEC.md. Run it, and it prints the example's block as it stands there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.vectors.lax_writer import (
    Draft,
    Recipient,
    cipher_keys,
    head,
    header,
    kms_context,
    payload,
    record,
    record_keys,
    seal,
)

MASTER_KEY = bytes(range(0x80, 0xA0))
KEY_FILE_NONCE = bytes(range(0xA0, 0xAC))
KEY_ID = "localfile://" + hashlib.sha256(b"envelope-codec/key-file-1\x00" + MASTER_KEY).digest()[:16].hex()


def context_bytes(context: dict[str, str]) -> bytes:
    entries = sorted((name.encode(), value.encode()) for name, value in context.items())
    sized = (len(item).to_bytes(2, "big") + item for pair in entries for item in pair)
    return b"envelope-codec/1 context\x00" + bytes([len(entries)]) + b"".join(sized)


def draft() -> Draft:
    """One recipient, a key file, whose ciphertext is short enough to be shown."""
    bare = Draft(inner=payload({"encoding": b"json/plain"}, b'"hello"'))
    bound = context_bytes(kms_context(bare))
    ciphertext = KEY_FILE_NONCE + AESGCM(MASTER_KEY).encrypt(KEY_FILE_NONCE, bare.secret, bound)
    return bare.but(recipients=(Recipient(KEY_ID.encode(), ciphertext, b"1"),))


def values() -> Iterator[tuple[str, bytes | str]]:
    """Every value of the example in the order of the text; a string is text, bytes are shown in hex."""
    example = draft()
    sealed = seal(example)
    (recipient,) = example.recipients
    (namespace,) = example.context
    found = header(sealed.metadata)
    cipher_key, commitment = cipher_keys(example)
    wrapping_key, id_ = record_keys(example)
    yield "-", "Given"
    yield "master key, version 1", MASTER_KEY
    yield "secret", example.secret
    yield "data key", example.data_key
    yield "nonce", example.nonce
    yield "key file's nonce", KEY_FILE_NONCE
    yield "created", f"{example.created}"
    yield "context", " = ".join(item.decode() for item in namespace)
    yield "inner Payload", example.inner
    yield "-", "1. The record's head, and what E makes of it"
    yield "head", head(example)
    yield "SHA-256(head)", hashlib.sha256(head(example)).digest()
    yield "info", b"envelope-codec/1 record\x00" + hashlib.sha256(head(example)).digest()
    yield "wrapping key", wrapping_key
    yield "id", id_
    yield "-", "2. The secret, wrapped by the KMS"
    yield "key id", KEY_ID
    for name, value in kms_context(example).items():
        yield "KMS context", f"{name} = {value}"
    yield "context bytes", context_bytes(kms_context(example))
    yield "ciphertext", recipient.ciphertext
    yield "-", "3. The record"
    yield "version, purpose", head(example)[:2]
    yield "created", head(example)[2:10]
    yield "n", head(example)[10:11]
    yield "name", head(example)[11:31]
    yield "value", head(example)[31:]
    yield "id", id_
    yield "m", b"\x01"
    yield "key id, key version", b"\x00\x00\x00\x01" + recipient.key_version
    yield "ciphertext", len(recipient.ciphertext).to_bytes(2, "big") + recipient.ciphertext
    yield "record, together", record(example)
    yield "-", "4. The payload"
    yield "wrapped data key", sealed.metadata["encryption-data-key"]
    yield "header", found
    yield "SHA-256(header)", hashlib.sha256(found).digest()
    yield "info", b"envelope-codec/1 payload\x00" + hashlib.sha256(found).digest()
    yield "cipher key", cipher_key
    yield "commitment", commitment
    yield "AES-256-GCM, with tag", sealed.data[44:]
    yield "-", "5. The envelope"
    for name in ("encoding", "encryption-key-id"):
        yield name, sealed.metadata[name].decode()
    yield "encryption-wrapped-key", "the record"
    yield "encryption-data-key", "the wrapped data key"
    yield "data", sealed.data


def block() -> str:
    lines: list[str] = []
    for label, value in values():
        if label == "-":
            lines += ["", str(value), ""] if lines else [str(value), ""]
            continue
        text = value if isinstance(value, str) else value.hex()
        size = len(text) if isinstance(value, str) else 64
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        lines += [f"{label if not number else '':<24}{piece}" for number, piece in enumerate(pieces)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(block(), end="")
