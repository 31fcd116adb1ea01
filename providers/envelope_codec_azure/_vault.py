"""What is asked of a vault, and replies that are what was asked for."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from envelope_codec.provider import Failed, meanings
from envelope_codec_azure._connection import Connection
from envelope_codec_azure._errors import VaultRefused
from envelope_codec_azure._hints import DISABLED, EXPIRED, NO_SUCH_VERSION, OF_SIGNING_KEY, WRONG_USAGE

T = TypeVar("T")

RSA_BITS = frozenset({2048, 3072, 4096})
RSA, OCT, EC = ("RSA", "RSA-HSM"), ("oct-HSM",), ("EC", "EC-HSM")

_KID = re.compile(r"https://(?P<host>[^/:]+)(?::443)?/keys/(?P<name>[^/]+)/(?P<version>[0-9a-f]{32})")
_BASE64URL = re.compile(r"[0-9A-Za-z_-]*")


@dataclass(frozen=True)
class KeyReply:
    """One version of a key, as the vault describes it.

    Attributes:
        version: 32 hex digits.
        kty: its type.
        operations: what it may be used for.
        enabled: whether it may be used.
        not_before, expires: Unix seconds, or None.
        jwk: its JSON Web Key: the public part.
        signing: whether it is a signing key.
    """

    version: str
    kty: str
    operations: Collection[str]
    enabled: bool
    not_before: int | None
    expires: int | None
    jwk: Mapping[str, Any]
    signing: bool

    def check_enabled(self) -> None:
        """Raise `Failed` if this version is disabled."""
        if not self.enabled:
            raise Failed(OF_SIGNING_KEY["disabled"] if self.signing else DISABLED)

    def check_usable(self, work: str) -> None:
        """Raise `Failed` unless the version may be used for ``work`` now.

        A vault does not stop public operations of a disabled key, and this library does one of them itself.
        """
        self.check_enabled()
        now = time.time()
        if now < (self.not_before or 0) or (self.expires is not None and self.expires <= now):
            raise Failed(OF_SIGNING_KEY["expired"] if self.signing else EXPIRED)
        if work not in self.operations:
            raise Failed(OF_SIGNING_KEY["wrong-usage"] if self.signing else WRONG_USAGE)

    def rsa_public_key(self) -> rsa.RSAPublicKey:
        """The public key. Raises `Failed` if its numbers are none, or it is no key of 2048, 3072 or 4096 bits."""
        try:
            e, n = (int.from_bytes(_decoded(self.jwk.get(name)), "big") for name in "en")
            public = rsa.RSAPublicNumbers(e, n).public_key()
        except ValueError:
            raise Failed(meanings.NO_ANSWER) from None
        if n % 2 == 0:
            raise Failed(meanings.NO_ANSWER)
        if public.key_size not in RSA_BITS:
            raise Failed(WRONG_USAGE)
        return public

    def p256_public_key(self) -> ec.EllipticCurvePublicKey | None:
        """The public key, or None if it is of another type or curve. Raises `Failed` if its point is none."""
        if self.kty not in EC or self.jwk.get("crv") != "P-256":
            return None
        try:
            x, y = (int.from_bytes(_decoded(self.jwk.get(name)), "big") for name in "xy")
            return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        except ValueError:
            raise Failed(meanings.NO_ANSWER) from None


class Vault:
    """The operations of one vault.

    Each reply names the key and the version that it is of. One that names others, or is not complete, is no usable
    answer: `Failed`.

    Args:
        host: the vault's host name.
        connection: how to ask it.
    """

    def __init__(self, host: str, connection: Connection) -> None:
        self._host = host
        self._connection = connection

    def read_key(self, name: str, version: str = "", *, signing: bool = False) -> KeyReply:
        """Read a version of a key; the latest one without ``version``."""
        with self._looking_for(name, version, signing=signing):
            said = self._connection.ask("get", f"/keys/{name}/{version}", signing=signing)
        whole = _dict(said)
        jwk, attributes = _dict(whole.get("key")), _dict(whole.get("attributes"))
        return KeyReply(
            version=self._version_in(jwk.get("kid"), name, version),
            kty=_typed(jwk.get("kty"), str),
            operations=_typed(jwk.get("key_ops", []), list),
            enabled=_typed(attributes.get("enabled"), bool),
            not_before=_seconds(attributes.get("nbf")),
            expires=_seconds(attributes.get("exp")),
            jwk=jwk,
            signing=signing,
        )

    def unwrap_key(self, name: str, version: str, ciphertext: bytes) -> bytes:
        """Decrypt with RSA-OAEP-256. The signature has shown that there was such a version."""
        body = {"alg": "RSA-OAEP-256", "value": encode(ciphertext)}
        return _decoded(self._work("unwrapkey", name, version, body)["value"])

    def encrypt(self, name: str, version: str, plaintext: bytes, aad: bytes) -> tuple[bytes, bytes, bytes]:
        """Encrypt with A256GCM; returns nonce, ciphertext and tag."""
        body = {"alg": "A256GCM", "value": encode(plaintext), "aad": encode(aad)}
        said = self._work("encrypt", name, version, body)
        nonce, ciphertext, tag = (_decoded(said.get(part)) for part in ("iv", "value", "tag"))
        if (len(nonce), len(ciphertext), len(tag)) != (12, len(plaintext), 16):
            raise Failed(meanings.NO_ANSWER)
        return nonce, ciphertext, tag

    def decrypt(self, name: str, version: str, nonce: bytes, ciphertext: bytes, tag: bytes, aad: bytes) -> bytes:
        """Decrypt with A256GCM."""
        parts = {"value": ciphertext, "iv": nonce, "tag": tag, "aad": aad}
        body = {"alg": "A256GCM", **{part: encode(data) for part, data in parts.items()}}
        with self._looking_for(name, version, signing=False):
            return _decoded(self._work("decrypt", name, version, body)["value"])

    def decrypt_rsa(self, name: str, version: str, ciphertext: bytes) -> bytes:
        """Decrypt with RSA-OAEP-256 what was encrypted, and not wrapped; without ``version``, with the latest one."""
        body = {"alg": "RSA-OAEP-256", "value": encode(ciphertext)}
        return _decoded(self._work("decrypt", name, version, body)["value"])

    def sign(self, name: str, version: str, digest: bytes) -> bytes:
        """Sign a SHA-256 with ES256; returns r ‖ s, 64 bytes."""
        body = {"alg": "ES256", "value": encode(digest)}
        signature = _decoded(self._work("sign", name, version, body, signing=True)["value"])
        if len(signature) != 64:
            raise Failed(meanings.NO_ANSWER)
        return signature

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def _looking_for(self, name: str, version: str, *, signing: bool) -> Iterator[None]:
        """Tell a version that never was, which anybody can make up, from a key that was deleted.

        Key Vault deletes keys with all their versions. So if the key is there, the version was not one of its own.
        """
        try:
            yield
        except VaultRefused as refused:
            if refused.status == 404 and refused.code is not None and version:
                self._connection.ask("get", f"/keys/{name}/", signing=signing)
                raise Failed(NO_SUCH_VERSION) from None
            raise

    def _work(
        self, work: str, name: str, version: str, body: Mapping[str, str], *, signing: bool = False
    ) -> Mapping[str, Any]:
        said = self._connection.ask(work, f"/keys/{name}/{version}/{work}", body, signing=signing)
        if not isinstance(said, dict):
            raise Failed(meanings.NO_ANSWER)
        self._version_in(said.get("kid"), name, version)
        return {"value": None, **said}

    def _version_in(self, kid: object, name: str, version: str) -> str:
        """The version in the key identifier of a reply, which must be of the key that was asked."""
        match = _KID.fullmatch(kid) if isinstance(kid, str) else None
        if match is None or match["host"].lower() != self._host or match["name"].lower() != name.lower():
            raise Failed(meanings.NO_ANSWER)
        if version and match["version"] != version:
            raise Failed(meanings.NO_ANSWER)
        return match["version"]


def encode(data: bytes) -> str:
    """Base64url without padding, as bytes travel in JSON."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: object) -> bytes:
    if not isinstance(text, str) or not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise Failed(meanings.NO_ANSWER)
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _seconds(value: object) -> int | None:
    return None if value is None else _typed(value, int)


def _dict(value: object) -> Mapping[str, Any]:
    return _typed(value, dict)


def _typed(value: Any, kind: type[T]) -> T:
    """The part of a reply, which must be of this type: what is missing or made up refuses no key."""
    if type(value) is not kind:
        raise Failed(meanings.NO_ANSWER)
    return value
