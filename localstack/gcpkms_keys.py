"""Keys of the GCP KMS test server: key rings, keys, versions and their states, and AES-256-GCM under them.

Knows nothing of gRPC. Key material stays in this process, in clear, unless a state file is asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SYMMETRIC = "ENCRYPT_DECRYPT"
ENABLED, DISABLED, DESTROY_SCHEDULED, DESTROYED = "ENABLED", "DISABLED", "DESTROY_SCHEDULED", "DESTROYED"
DEFAULT_DESTROY_AFTER = 30 * 24 * 3600.0

_LOCATION = re.compile(r"projects/[^/]+/locations/[^/]+")
_ID = re.compile(r"[a-zA-Z0-9_-]{1,63}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_MAGIC = b"\x0a\x24GKT1"
_HEADER = len(_MAGIC) + 8 + 4  # magic, fingerprint of the key's name and birth, version
_NONCE = 12


class Refused(Exception):
    """The service's answer where it is not yes: name of a gRPC status, text, and type of the failed precondition."""

    def __init__(self, status: str, text: str, *, violation: str | None = None, subject: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.violation = violation
        self.subject = subject


@dataclass
class Version:
    """One version of a key: its material and its state."""

    name: str
    number: int
    created: float
    material: str
    """256 bits, hexadecimal; empty once destroyed."""
    state: str = ENABLED
    destroy_at: float | None = None

    def current(self) -> Version:
        """Itself, destroyed for good if the time for that has come."""
        if self.state == DESTROY_SCHEDULED and self.destroy_at is not None and time.time() >= self.destroy_at:
            self.state = DESTROYED
            self.material = ""
        return self

    def usable(self) -> Version:
        if self.current().state != ENABLED:
            raise Refused(
                "FAILED_PRECONDITION",
                f"{self.name} is not enabled, current state is: {self.state}.",
                violation=f"KEY_{self.state}",
                subject=self.name,
            )
        return self

    def move(self, *, to: str, only_from: tuple[str, ...]) -> None:
        if self.current().state not in only_from:
            raise Refused("FAILED_PRECONDITION", f"{self.name} cannot become {to}: current state is: {self.state}.")
        self.state = to


@dataclass
class Key:
    """A CryptoKey."""

    name: str
    purpose: str
    created: float
    fingerprint: str
    """64 bits, hexadecimal, in every ciphertext: tells whose it is."""
    destroy_after: float = DEFAULT_DESTROY_AFTER
    labels: dict[str, str] = field(default_factory=dict)
    primary: int | None = None
    versions: list[Version] = field(default_factory=list)

    def add_version(self) -> Version:
        number = len(self.versions) + 1
        material = AESGCM.generate_key(256).hex() if self.purpose == SYMMETRIC else ""
        version = Version(f"{self.name}/cryptoKeyVersions/{number}", number, time.time(), material)
        self.versions.append(version)
        return version

    def version(self, number: int) -> Version:
        if not 1 <= number <= len(self.versions):
            raise not_found("CryptoKeyVersion", f"{self.name}/cryptoKeyVersions/{number}")
        return self.versions[number - 1].current()

    def for_encryption(self, number: int | None) -> Version:
        self._check_purpose()
        if number is None:
            number = self.primary
        if number is None:
            raise Refused("FAILED_PRECONDITION", f"{self.name} has no primary version.")
        return self.version(number).usable()

    def encrypt(self, version: Version, plaintext: bytes, aad: bytes) -> bytes:
        header = _MAGIC + bytes.fromhex(self.fingerprint) + version.number.to_bytes(4, "big")
        nonce = os.urandom(_NONCE)
        return header + nonce + AESGCM(bytes.fromhex(version.material)).encrypt(nonce, plaintext, aad)

    def decrypt(self, ciphertext: bytes, aad: bytes) -> tuple[Version, bytes]:
        """The version that made ``ciphertext``, and what it says."""
        self._check_purpose()
        invalid = Refused("INVALID_ARGUMENT", "Decryption failed: the ciphertext is invalid.")
        header, nonce, sealed = ciphertext[:_HEADER], ciphertext[_HEADER:][:_NONCE], ciphertext[_HEADER + _NONCE :]
        if len(sealed) < 16 or not header.startswith(_MAGIC):
            raise invalid
        if header[len(_MAGIC) : -4] != bytes.fromhex(self.fingerprint):
            raise Refused("INVALID_ARGUMENT", "Decryption failed: verify that 'name' refers to the correct CryptoKey.")
        number = int.from_bytes(header[-4:], "big")
        if not 1 <= number <= len(self.versions):
            raise invalid
        version = self.version(number).usable()
        try:
            return version, AESGCM(bytes.fromhex(version.material)).decrypt(nonce, sealed, aad)
        except InvalidTag:
            raise invalid from None

    def _check_purpose(self) -> None:
        if self.purpose != SYMMETRIC:
            raise Refused(
                "FAILED_PRECONDITION",
                f"{self.name} has purpose {self.purpose}, which is not usable for this operation.",
                subject=self.name,
            )


class Store:
    """All key rings and keys. Hold `open` while reading or changing anything in it.

    Args:
        file: where to keep everything, key material in clear included, over a restart; None: in memory only.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self.rings: dict[str, float] = {}
        self.keys: dict[str, Key] = {}
        if file is not None and file.exists():
            state = json.loads(file.read_text())
            self.rings = state["rings"]
            for saved in state["keys"]:
                versions = [Version(**version) for version in saved.pop("versions")]
                self.keys[saved["name"]] = Key(**saved, versions=versions)

    @contextmanager
    def open(self, *, change: bool = False) -> Iterator[Store]:
        with self._lock:
            yield self
            if change and self._file is not None:
                self._save(self._file)

    def add_ring(self, parent: str, ring_id: str) -> str:
        if not _LOCATION.fullmatch(parent):
            raise Refused("INVALID_ARGUMENT", f"Resource field 'parent' has unsupported value {_quoted(parent)}.")
        name = f"{parent}/keyRings/{checked_id(ring_id, 'key_ring_id')}"
        if name in self.rings:
            raise Refused("ALREADY_EXISTS", f"KeyRing {name} already exists.")
        self.rings[name] = time.time()
        return name

    def ring(self, name: str) -> float:
        """When the key ring was made."""
        if name not in self.rings:
            raise not_found("KeyRing", name)
        return self.rings[name]

    def add_key(self, ring: str, key_id: str, purpose: str, destroy_after: float, labels: dict[str, str]) -> Key:
        self.ring(ring)
        name = f"{ring}/cryptoKeys/{checked_id(key_id, 'crypto_key_id')}"
        if name in self.keys:
            raise Refused("ALREADY_EXISTS", f"CryptoKey {name} already exists.")
        now = time.time()
        fingerprint = hashlib.sha256(f"{name}@{now}".encode()).hexdigest()[:16]
        self.keys[name] = Key(name, purpose, now, fingerprint, destroy_after, labels)
        return self.keys[name]

    def key(self, name: str) -> Key:
        if name not in self.keys:
            raise not_found("CryptoKey", name)
        return self.keys[name]

    def version(self, name: str) -> Version:
        key, number = split_version(name)
        if number is None:
            raise invalid_name(name)
        return self.key(key).version(number)

    def _save(self, file: Path) -> None:
        state = {"rings": self.rings, "keys": [asdict(key) for key in self.keys.values()]}
        new = file.with_name(file.name + ".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps(state))
        new.replace(file)


def split_version(name: str) -> tuple[str, int | None]:
    """``KEY/cryptoKeyVersions/N`` as ``(KEY, N)``; the name of a key as ``(KEY, None)``."""
    key, separator, number = name.partition("/cryptoKeyVersions/")
    if not separator:
        return key, None
    return key, checked_number(number, "name")


def checked_number(value: str, what: str) -> int:
    if not _NUMBER.fullmatch(value):
        raise Refused("INVALID_ARGUMENT", f"The {what} {_quoted(value)} must be or end with a decimal number.")
    return int(value)


def checked_id(value: str, what: str) -> str:
    if not _ID.fullmatch(value):
        raise Refused("INVALID_ARGUMENT", f"The {what} {_quoted(value)} must match [a-zA-Z0-9_-]{{1,63}}.")
    return value


def not_found(kind: str, name: str) -> Refused:
    return Refused("NOT_FOUND", f"{kind} {name} not found.")


def invalid_name(name: str) -> Refused:
    return Refused("INVALID_ARGUMENT", f"Resource field 'name' has unsupported value {_quoted(name)}.")


def _quoted(value: str) -> str:
    """Cut short, because gRPC drops a part of the replies whose trailers are over 8 KiB."""
    return repr(value if len(value) <= 200 else f"{value[:200]}…")
