"""A writer of envelopes that obeys no rule: what it is told, it writes, and it keeps the cryptography consistent.

So a bad vector has the defect that its draft was given and no other, and a reader that forgot that rule would open it.
HKDF is spelled out here from RFC 5869 and HMAC, the inner Payload from protobuf's wire format.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

BOUND = ("encoding", "encryption-data-key", "encryption-key-id", "encryption-wrapped-key")
PURPOSES = {1: "wrapping-key", 2: "data-key", 3: "shared-wrapping-key"}

SECRET = bytes(range(0x00, 0x20))
DATA_KEY = bytes(range(0x20, 0x40))
NONCE = bytes(range(0x40, 0x4C))
CREATED = 1_767_225_600  # 2026-01-01T00:00:00Z

AWS_KEY = b"arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
GCP_KEY = b"projects/payments/locations/europe-west3/keyRings/temporal/cryptoKeys/payloads"
VAULT_KEY = b"hashivault://payloads?cluster=eu&mount=transit"
FILE_KEY = b"localfile://00112233445566778899aabbccddeeff"


def filler(label: str, size: int) -> bytes:
    """Bytes that look random and are always the same, as a KMS's ciphertext."""
    return hashlib.shake_256(label.encode()).digest(size)


@dataclass(frozen=True)
class Recipient:
    """One recipient of a draft.

    Attributes:
        key_id: of the master key.
        ciphertext: as the KMS made it.
        key_version: as the KMS told it.
        spelled: the key id in the record; None: empty for the first recipient, ``key_id`` for the others.
        secret: what the KMS makes of the ciphertext; None: the draft's secret; empty: it refuses.
    """

    key_id: bytes
    ciphertext: bytes
    key_version: bytes = b""
    spelled: bytes | None = None
    secret: bytes | None = None


AWS = Recipient(AWS_KEY, filler("aws", 184))
GCP = Recipient(GCP_KEY, filler("gcp", 114), b"3")
VAULT = Recipient(VAULT_KEY, b"vault:v2:" + b"QUJD" * 21, b"2")
FILE = Recipient(FILE_KEY, filler("file", 60), b"1")


@dataclass(frozen=True)
class Draft:
    """Everything that goes into one envelope. ``with_data_key`` None: as the purpose wants. ``id`` and ``key`` None: as
    derived."""

    version: int = 1
    purpose: int = 1
    created: int = CREATED
    context: tuple[tuple[bytes, bytes], ...] = ((b"temporal-namespace", b"prod"),)
    secret: bytes = SECRET
    id: bytes | None = None
    key: bytes | None = None
    recipients: tuple[Recipient, ...] = (AWS,)
    tail: bytes = b""
    encoding: bytes = b"binary/envelope-v1"
    key_id: bytes | None = None
    with_data_key: bool | None = None
    data_key: bytes = DATA_KEY
    nonce: bytes = NONCE
    associated_data: bytes | None = None
    inner: bytes = b""
    extra: tuple[tuple[str, bytes], ...] = ()
    left_out: str = ""

    def but(self, **changes: object) -> Draft:
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Sealed:
    """An envelope and what its KMS knows."""

    metadata: dict[str, bytes]
    data: bytes
    kms: list[dict[str, object]] = field(default_factory=list)

    def but(self, **metadata: bytes | None) -> Sealed:
        """Metadata changed after sealing; names with ``_`` for ``-``, None to leave one out."""
        changed = {**self.metadata, **{name.replace("_", "-"): value for name, value in metadata.items()}}
        return replace(self, metadata={name: value for name, value in changed.items() if value is not None})


def derive(key: bytes, label: bytes, message: bytes) -> tuple[bytes, bytes]:
    """E(k, label, m), as its two halves. RFC 5869, section 2.3, for 64 bytes and SHA-256."""
    info = label + b"\x00" + hashlib.sha256(message).digest()
    first = hmac.new(key, info + b"\x01", hashlib.sha256).digest()
    return first, hmac.new(key, first + info + b"\x02", hashlib.sha256).digest()


def head(draft: Draft) -> bytes:
    """Everything before the record's id."""
    entries = b"".join(_sized(name) + _sized(value) for name, value in draft.context)
    start = bytes([draft.version, draft.purpose]) + draft.created.to_bytes(8, "big")
    return start + bytes([len(draft.context)]) + entries


def record_keys(draft: Draft) -> tuple[bytes, bytes]:
    """The wrapping key (direct mode: the data key), and the record's id."""
    key, derived_id = derive(draft.secret, b"envelope-codec/1 record", head(draft))
    return key if draft.key is None else draft.key, derived_id if draft.id is None else draft.id


def record(draft: Draft) -> bytes:
    return b"".join(part for _, part in parts(draft))


def parts(draft: Draft) -> list[tuple[str, bytes]]:
    """The record's parts after its head, and the head, each with a name."""
    found = [("head", head(draft)), ("id", record_keys(draft)[1]), ("count", bytes([len(draft.recipients)]))]
    for number, one in enumerate(draft.recipients):
        spelled = one.spelled if one.spelled is not None else (one.key_id if number else b"")
        found += [
            (f"key id {number}", _sized(spelled)),
            (f"key version {number}", _sized(one.key_version)),
            (f"ciphertext {number}", _sized(one.ciphertext)),
        ]
    return [*found, ("tail", draft.tail)]


def metadata(draft: Draft) -> dict[str, bytes]:
    found = {"encoding": draft.encoding, "encryption-wrapped-key": record(draft)}
    if draft.key_id is not None:
        found["encryption-key-id"] = draft.key_id
    elif draft.recipients:
        found["encryption-key-id"] = draft.recipients[0].key_id
    if draft.with_data_key if draft.with_data_key is not None else draft.purpose != 2:
        found["encryption-data-key"] = aes_key_wrap(record_keys(draft)[0], draft.data_key)
    return {name: value for name, value in {**found, **dict(draft.extra)}.items() if name != draft.left_out}


def header(found: dict[str, bytes]) -> bytes:
    names = [name for name in BOUND if name in found]
    entries = (_sized(name.encode()) + len(found[name]).to_bytes(4, "big") + found[name] for name in names)
    return bytes([len(names)]) + b"".join(entries)


def cipher_keys(draft: Draft) -> tuple[bytes, bytes]:
    """The cipher key and the commitment."""
    found = metadata(draft)
    data_key = draft.data_key if "encryption-data-key" in found else record_keys(draft)[0]
    return derive(data_key, b"envelope-codec/1 payload", header(found))


def kms_context(draft: Draft) -> dict[str, str]:
    context = {name.decode(): value.decode() for name, value in draft.context}
    purpose = PURPOSES.get(draft.purpose, "unknown")
    return context | {"envelope-codec:purpose": purpose, "envelope-codec:id": record_keys(draft)[1].hex()}


def kms(draft: Draft) -> list[dict[str, object]]:
    """What the draft's KMS opens: nothing where a string is not UTF-8, for then no reader may ask."""
    try:
        context = kms_context(draft)
        return [
            {
                "key_id": (draft.key_id if draft.key_id is not None and not number else one.key_id).decode(),
                "key_version": one.key_version.decode(),
                "ciphertext": one.ciphertext,
                "context": context,
                "secret": draft.secret if one.secret is None else one.secret,
            }
            for number, one in enumerate(draft.recipients)
            if one.secret != b""
        ]
    except UnicodeDecodeError:
        return []


def seal(draft: Draft) -> Sealed:
    cipher_key, commitment = cipher_keys(draft)
    encrypted = AESGCM(cipher_key).encrypt(draft.nonce, draft.inner, draft.associated_data)
    return Sealed(metadata(draft), commitment + draft.nonce + encrypted, kms(draft))


def with_zero_ciphertext(draft: Draft, encoding: bytes, size: int) -> Draft:
    """A draft whose inner data encrypts to ``size`` zero bytes, so that a large vector is a short file."""
    start = payload({"encoding": encoding}, b"") + b"\x12" + _varint(size)
    keystream = AESGCM(cipher_keys(draft)[0]).encrypt(draft.nonce, bytes(len(start) + size), None)
    return draft.but(inner=start + keystream[len(start) : len(start) + size])


def payload(entries: dict[str, bytes], data: bytes) -> bytes:
    """A serialized temporal.api.common.v1.Payload: ``map<string, bytes> metadata = 1; bytes data = 2;``."""
    serialized = b""
    for name in sorted(entries):
        serialized += _tagged(1, _tagged(1, name.encode()) + _tagged(2, entries[name]))
    return serialized + (_tagged(2, data) if data else b"")


def _tagged(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def _sized(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value
