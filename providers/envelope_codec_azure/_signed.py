"""The ciphertext of a recipient whose master key is an RSA key: RSA-OAEP-256, and a signature that binds the context.

RSA binds no context, and whoever has the public key can encrypt. So a second key of the same vault signs what belongs
together: key id, key version, context and OAEP ciphertext. See SPEC.md, "Azure Key Vault, RSA". Bytes only: nothing
here asks a vault.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from envelope_codec_azure._key_id import is_name, is_version

OAEP_LENGTHS = frozenset({256, 384, 512})
"""Bytes of an OAEP ciphertext: of RSA keys with 2048, 3072 and 4096 bits."""

SIGNATURE_LENGTH = 64

_FORMAT = 1
_LABEL = b"envelope-codec/1 azure-rsa\0"
_SIGNER_LENGTHS = range(3, 161)
_HALF = SIGNATURE_LENGTH // 2
# Order of the group of P-256: FIPS 186-4, D.1.2.3.
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class NotSigned(Exception):
    """The bytes are no such ciphertext."""


@dataclass(frozen=True)
class Signer:
    """One version of a signing key.

    Attributes:
        name: the key's name, in the vault of the master key.
        version: 32 hex digits.
    """

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"

    @classmethod
    def parse(cls, text: bytes) -> Signer:
        """Read ``NAME/VERSION`` in ASCII. Raises `NotSigned`."""
        if len(text) not in _SIGNER_LENGTHS or not text.isascii():
            raise NotSigned
        name, _, version = text.decode("ascii").partition("/")
        if not is_name(name) or not is_version(version):
            raise NotSigned
        return cls(name, version)


@dataclass(frozen=True)
class SignedCiphertext:
    """What a recipient's ciphertext consists of.

    Attributes:
        oaep: the secret under RSA-OAEP with SHA-256, MGF1-SHA-256 and the empty label.
        signer: which key signed.
        signature: r ‖ s, 64 bytes.
    """

    oaep: bytes
    signer: Signer
    signature: bytes

    @classmethod
    def parse(cls, ciphertext: bytes) -> SignedCiphertext:
        """Read u8 = 1 ‖ u16-length OAEP ciphertext ‖ u16-length ``NAME/VERSION`` ‖ r ‖ s.

        Raises:
            NotSigned: a length or a byte is wrong, bytes are missing or left over, or s is over half the order.
        """
        if ciphertext[:1] != bytes([_FORMAT]):
            raise NotSigned
        oaep, rest = _cut(ciphertext[1:])
        signer, signature = _cut(rest)
        if len(oaep) not in OAEP_LENGTHS or len(signature) != SIGNATURE_LENGTH or not _is_low(signature):
            raise NotSigned
        return cls(oaep, Signer.parse(signer), signature)

    def __bytes__(self) -> bytes:
        return bytes([_FORMAT]) + _sized(self.oaep) + _sized(str(self.signer).encode()) + self.signature

    def is_signed_by(self, public: ec.EllipticCurvePublicKey, digest: bytes) -> bool:
        """Whether ``signature`` is one of ``public`` over ``digest``, as `digest_of` makes it."""
        r, s = _halves(self.signature)
        try:
            public.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(SHA256())))
        except InvalidSignature:
            return False
        return True


def digest_of(*, key_id: str, key_version: str, signer: Signer, context: bytes, oaep: bytes) -> bytes:
    """What is signed with ES256, as the SHA-256 that a vault is given. ``context`` is the context bytes."""
    parts = (key_id.encode(), key_version.encode(), str(signer).encode(), context, oaep)
    return hashlib.sha256(_LABEL + b"".join(map(_sized, parts))).digest()


def with_low_s(signature: bytes) -> bytes:
    """Return the same signature with s at most half the order, so that nobody can make a second one of it.

    ``(r, s)`` and ``(r, n - s)`` are both valid, and a vault gives either.
    """
    r, s = _halves(signature)
    return signature if s <= _ORDER // 2 else r.to_bytes(_HALF, "big") + (_ORDER - s).to_bytes(_HALF, "big")


def _is_low(signature: bytes) -> bool:
    return _halves(signature)[1] <= _ORDER // 2


def _halves(signature: bytes) -> tuple[int, int]:
    return int.from_bytes(signature[:_HALF], "big"), int.from_bytes(signature[_HALF:], "big")


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _cut(data: bytes) -> tuple[bytes, bytes]:
    """Return the first u16-length field, and what follows it."""
    end = 2 + int.from_bytes(data[:2], "big")
    if len(data) < max(2, end):
        raise NotSigned
    return data[2:end], data[end:]
