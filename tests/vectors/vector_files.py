"""Reads the test vectors of this folder (README.md says what their fields mean)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Digest:
    """What bytes are that are too long to be written out."""

    sha256: str
    length: int

    def __eq__(self, other: object) -> bool:
        if isinstance(other, bytes):
            return len(other) == self.length and hashlib.sha256(other).hexdigest() == self.sha256
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Wrapped:
    """One answer of the vector's KMS: this ciphertext, under this master key and context, is this secret."""

    key_id: str
    key_version: str
    ciphertext: bytes
    context: Mapping[str, str]
    secret: bytes


@dataclass(frozen=True)
class Payload:
    """A payload as metadata and data."""

    metadata: Mapping[str, bytes | Digest]
    data: bytes | Digest


@dataclass(frozen=True)
class Vector:
    """One test vector. ``name`` is unique over all files."""

    name: str
    comment: str
    expect: str
    metadata: Mapping[str, bytes]
    data: bytes
    kms: list[Wrapped] = field(default_factory=list)
    configured: Mapping[str, list[str]] = field(default_factory=dict)
    namespace: str | None = None
    max_payload: int | None = None
    base: str | None = None
    after: str | None = None
    keystore: Mapping[bytes, bytes] = field(default_factory=dict)
    inner: bytes | Digest | None = None
    payload: Payload | None = None

    def unwrap(self, key_id: str, key_version: str, ciphertext: bytes, context: Mapping[str, str]) -> bytes:
        """The vector's KMS. LookupError: it refuses."""
        for entry in self.kms:
            asked = (key_id, key_version, ciphertext, dict(context))
            if asked == (entry.key_id, entry.key_version, entry.ciphertext, entry.context):
                return entry.secret
        raise LookupError("this KMS can't decrypt that")

    def is_configured(self, namespace: str, key_id: str) -> bool:
        """Whether the vector's reader has this master key for records of ``namespace``."""
        return key_id in self.configured.get(namespace, ())


def load(select: Callable[[Vector], bool] = lambda vector: True) -> list[Vector]:
    """All vectors of this folder, in the order of file and entry."""
    vectors = [
        _vector(entry)
        for path in sorted(FOLDER.glob("*.json"))
        for entry in json.loads(path.read_text(encoding="ascii"))["vectors"]
    ]
    return [vector for vector in vectors if select(vector)]


def decode(value: Any) -> bytes:
    """Bytes from the files' notation: hex, a repetition, or a list of both."""
    if isinstance(value, str):
        return bytes.fromhex(value)
    if isinstance(value, list):
        return b"".join(map(decode, value))
    return bytes.fromhex(value["repeat"]) * int(value["count"])


def _expected(value: Any) -> bytes | Digest:
    return Digest(**value) if isinstance(value, dict) and "sha256" in value else decode(value)


def _vector(entry: dict[str, Any]) -> Vector:
    known = dict(entry)
    known["metadata"] = {name: decode(value) for name, value in entry["metadata"].items()}
    known["data"] = decode(entry["data"])
    known["kms"] = [
        Wrapped(
            item["key_id"],
            item["key_version"],
            decode(item["ciphertext"]),
            item["context"],
            decode(item["secret"]),
        )
        for item in entry.get("kms", [])
    ]
    known["keystore"] = {bytes.fromhex(item["key"]): decode(item["row"]) for item in entry.get("keystore", [])}
    if "inner" in entry:
        known["inner"] = _expected(entry["inner"])
    if "payload" in entry:
        known["payload"] = Payload(
            {name: _expected(value) for name, value in entry["payload"]["metadata"].items()},
            _expected(entry["payload"]["data"]),
        )
    return Vector(**known)
