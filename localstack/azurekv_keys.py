"""Keys of the Azure Key Vault test server: names, versions and their states, and real cryptography under them.

Knows nothing of HTTP. Key material stays in this process, in clear, unless a state file is asked for.
"""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

RSA_TYPES, EC_TYPES, OCT_TYPES = ("RSA", "RSA-HSM"), ("EC", "EC-HSM"), ("oct-HSM",)
_CURVES: Mapping[str, type[ec.EllipticCurve]] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1}
_OPERATIONS = {
    "RSA": ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"],
    "EC": ["sign", "verify"],
    "oct": ["encrypt", "decrypt", "wrapKey", "unwrapKey"],
}
_ALGORITHMS = {"RSA": ("RSA-OAEP-256",), "EC": ("ES256",), "oct": ("A256GCM",)}
# A public key's work is done for a disabled key, too. https://github.com/Azure/azure-sdk-for-python/issues/45342
_STOPPED_BY_DISABLING = ("decrypt", "sign", "unwrapKey")
# https://learn.microsoft.com/azure/key-vault/keys/about-keys-details#date-time-controlled-operations
_ALLOWED_OUTSIDE_DATES = ("decrypt", "unwrapKey", "verify")
_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")
_MAX_TAG, _NONCE = 16, 12


class Refused(Exception):
    """The service's answer where it is not yes: HTTP status, error code, text, and code of the inner error."""

    def __init__(self, status: int, code: str, text: str, inner: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text
        self.inner = inner


@dataclass
class Version:
    """One version of a key.

    Attributes:
        kty: its type, such as ``RSA``.
        material: PKCS #8 in DER, or 32 bytes, in base64.
    """

    id: str
    kty: str
    material: str
    operations: list[str]
    created: int
    enabled: bool = True
    not_before: int | None = None
    expires: int | None = None

    @property
    def family(self) -> str:
        return self.kty.partition("-")[0]

    def public(self) -> dict[str, object]:
        """The part of a JSON Web Key that may be told."""
        if self.family == "RSA":
            numbers = self._rsa().public_key().public_numbers()
            return {"n": encode(_big(numbers.n)), "e": encode(_big(numbers.e))}
        if self.family == "EC":
            private = self._ec()
            point = private.public_key().public_numbers()
            size = (private.curve.key_size + 7) // 8
            curve = {"secp256r1": "P-256", "secp384r1": "P-384"}[private.curve.name]
            return {
                "crv": curve,
                "x": encode(point.x.to_bytes(size, "big")),
                "y": encode(point.y.to_bytes(size, "big")),
            }
        return {}

    def perform(self, operation: str, algorithm: str, request: Mapping[str, Any]) -> dict[str, object]:
        """Do ``operation`` and give what the reply says beside ``kid``."""
        self._check(operation, algorithm)
        try:
            work = getattr(self, f"_{operation}")
            done: dict[str, object] = work({name: _decoded(name, request) for name in request if name != "alg"})
        except KeyError as missing:
            raise Refused(400, "BadParameter", f"Property {missing} is required.") from None
        return done

    def _check(self, operation: str, algorithm: str) -> None:
        if not self.enabled and operation in _STOPPED_BY_DISABLING:
            raise Refused(403, "Forbidden", f"Operation {operation} is not allowed on a disabled key.", "KeyDisabled")
        now = time.time()
        if operation not in _ALLOWED_OUTSIDE_DATES:
            if self.not_before is not None and now < self.not_before:
                text = f"Operation {operation} is not allowed on a key that is not yet valid."
                raise Refused(403, "Forbidden", text, "KeyNotYetValid")
            if self.expires is not None and now >= self.expires:
                raise Refused(
                    403, "Forbidden", f"Operation {operation} is not allowed on an expired key.", "KeyExpired"
                )
        if operation not in self.operations:
            text = f"Operation {operation} is not permitted on this key."
            raise Refused(403, "Forbidden", text, "KeyOperationForbidden")
        if algorithm not in _ALGORITHMS[self.family]:
            raise Refused(400, "BadParameter", f"Key and signing algorithm are incompatible: {self.kty}, {algorithm}.")

    def _encrypt(self, request: Mapping[str, bytes]) -> dict[str, object]:
        if self.family != "oct":
            return self._wrapKey(request)
        nonce = os.urandom(_NONCE)
        sealed = AESGCM(self._bytes()).encrypt(nonce, request["value"], request.get("aad"))
        reply = {"value": encode(sealed[:-_MAX_TAG]), "tag": encode(sealed[-_MAX_TAG:]), "iv": encode(nonce)}
        return {**reply, "aad": encode(request["aad"])} if "aad" in request else dict(reply)

    def _decrypt(self, request: Mapping[str, bytes]) -> dict[str, object]:
        if self.family != "oct":
            return self._unwrapKey(request)
        if len(request["iv"]) != _NONCE or len(request["tag"]) != _MAX_TAG:
            raise Refused(400, "BadParameter", "Invalid length of iv or tag.")
        try:
            opened = AESGCM(self._bytes()).decrypt(request["iv"], request["value"] + request["tag"], request.get("aad"))
        except InvalidTag:
            raise Refused(400, "BadParameter", "The parameter is incorrect.") from None
        return {"value": encode(opened)}

    def _wrapKey(self, request: Mapping[str, bytes]) -> dict[str, object]:
        return {"value": encode(self._rsa().public_key().encrypt(request["value"], OAEP_256))}

    def _unwrapKey(self, request: Mapping[str, bytes]) -> dict[str, object]:
        try:
            return {"value": encode(self._rsa().decrypt(request["value"], OAEP_256))}
        except ValueError:
            raise Refused(400, "BadParameter", "The parameter is incorrect.\r\n") from None

    def _sign(self, request: Mapping[str, bytes]) -> dict[str, object]:
        _check_digest(request["value"])
        r, s = decode_dss_signature(self._ec().sign(request["value"], ec.ECDSA(Prehashed(SHA256()))))
        return {"value": encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))}

    def _verify(self, request: Mapping[str, bytes]) -> dict[str, object]:
        _check_digest(request["digest"])
        r, s = (int.from_bytes(half, "big") for half in (request["value"][:32], request["value"][32:]))
        try:
            self._ec().public_key().verify(encode_dss_signature(r, s), request["digest"], ec.ECDSA(Prehashed(SHA256())))
        except InvalidSignature:
            return {"value": False}
        return {"value": True}

    def _bytes(self) -> bytes:
        return base64.b64decode(self.material)

    def _rsa(self) -> rsa.RSAPrivateKey:
        key = load_der_private_key(self._bytes(), None, unsafe_skip_rsa_key_validation=True)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key

    def _ec(self) -> ec.EllipticCurvePrivateKey:
        key = load_der_private_key(self._bytes(), None, unsafe_skip_rsa_key_validation=True)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key


OAEP_256 = OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=None)


@dataclass
class Key:
    """A key: its versions, the oldest first. Deleted, it waits to be recovered or purged."""

    name: str
    versions: list[Version] = field(default_factory=list)
    deleted: int | None = None

    def version(self, id: str | None) -> Version:
        """The version ``id``; the latest one without it."""
        if not id:
            return self.versions[-1]
        for version in self.versions:
            if version.id == id.lower():
                return version
        raise not_found(f"{self.name}/{id}")


class Store:
    """All keys of one vault. Hold `open` while reading or changing anything in it.

    Args:
        file: where to keep everything, key material in clear included, over a restart; None: in memory only.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._keys: dict[str, Key] = {}
        if file is not None and file.exists():
            for saved in json.loads(file.read_text()):
                versions = [Version(**version) for version in saved.pop("versions")]
                self._keys[saved["name"].lower()] = Key(**saved, versions=versions)

    @contextmanager
    def open(self, *, change: bool = False) -> Iterator[Store]:
        with self._lock:
            yield self
            if change and self._file is not None:
                self._save(self._file)

    def names(self) -> list[str]:
        return [key.name for key in self._keys.values() if key.deleted is None]

    def key(self, name: str, *, deleted: bool = False) -> Key:
        """The key of that name, in letters of either case."""
        found = self._keys.get(name.lower())
        if found is None or (found.deleted is not None) is not deleted:
            raise not_found(name)
        return found

    def create(self, name: str, request: Mapping[str, Any]) -> tuple[Key, Version]:
        """Make a key, or a new version of one."""
        if not _NAME.fullmatch(name):
            raise Refused(400, "BadParameter", f"The key name {name[:200]!r} is invalid.")
        key = self._keys.setdefault(name.lower(), Key(name))
        if key.deleted is not None:
            text = f"Key {name} is currently in a deleted but recoverable state, and its name cannot be reused."
            raise Refused(409, "Conflict", text, "ObjectIsDeletedButRecoverable")
        version = _new_version(request)
        key.versions.append(version)
        return key, version

    def rotate(self, name: str) -> tuple[Key, Version]:
        """Make a new version like the latest one."""
        last = self.key(name).versions[-1]
        like: dict[str, object] = {"kty": last.kty, "key_ops": last.operations}
        if last.family == "RSA":
            like["key_size"] = last._rsa().key_size
        if last.family == "EC":
            like["crv"] = last.public()["crv"]
        return self.create(name, like)

    def delete(self, name: str) -> Key:
        key = self.key(name)
        key.deleted = int(time.time())
        return key

    def recover(self, name: str) -> Key:
        key = self.key(name, deleted=True)
        key.deleted = None
        return key

    def purge(self, name: str) -> None:
        del self._keys[self.key(name, deleted=True).name.lower()]

    def _save(self, file: Path) -> None:
        new = file.with_name(file.name + ".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps([asdict(key) for key in self._keys.values()]))
        new.replace(file)


def _new_version(request: Mapping[str, Any]) -> Version:
    kty = request.get("kty", "")
    size = request.get("key_size")
    attributes = request.get("attributes") or {}
    if kty in RSA_TYPES and size in (None, 2048, 3072, 4096):
        private: Any = rsa.generate_private_key(65537, size or 2048)
    elif kty in EC_TYPES and request.get("crv", "P-256") in _CURVES:
        private = ec.generate_private_key(_CURVES[request.get("crv", "P-256")]())
    elif kty in OCT_TYPES and size in (None, 256):
        private = None
    else:
        raise Refused(400, "BadParameter", f"Unsupported kty, key_size or crv: {kty!r}.")
    der = AESGCM.generate_key(256) if private is None else _der(private)
    return Version(
        id=uuid.uuid4().hex,
        kty=kty,
        material=base64.b64encode(der).decode(),
        operations=list(request.get("key_ops") or _OPERATIONS[kty.partition("-")[0]]),
        created=int(time.time()),
        enabled=bool(attributes.get("enabled", True)),
        not_before=attributes.get("nbf"),
        expires=attributes.get("exp"),
    )


def _der(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def not_found(what: str) -> Refused:
    text = (
        f"A key with (name/id) {what[:200]} was not found in this key vault. If you recently deleted this key you may "
        "be able to recover it using the correct recovery command."
    )
    return Refused(404, "KeyNotFound", text)


def _check_digest(digest: bytes) -> None:
    if len(digest) != 32:
        raise Refused(400, "BadParameter", "Invalid length of value: 32 bytes are needed for ES256.")


def _decoded(name: str, request: Mapping[str, Any]) -> bytes:
    text = request[name]
    if not isinstance(text, str) or not re.fullmatch(r"[0-9A-Za-z_-]*", text):
        raise Refused(400, "BadParameter", f"Property {name} is not base64url.")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode(data: bytes) -> str:
    """Base64url without padding, as all of the protocol's bytes travel."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _big(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
