"""A second reader of recipients of Azure RSA keys: written from SPEC.md, and knowing nothing of `envelope_codec`.

The vault is the one of the vectors: it has the private RSA keys, and does what Key Vault would.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

HALF_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551 // 2


class Denied(Exception):
    """The vault refuses the key."""


def open_recipient(
    vault: Mapping[str, Any],
    *,
    key_version: str,
    ciphertext: bytes,
    context: Mapping[str, str],
    sign_keys: Collection[str],
) -> bytes:
    """The secret of one recipient.

    Raises:
        ValueError: the recipient is corrupt.
        Denied: the version that signed is disabled, or the one that wrapped is gone.
    """
    _require(re.fullmatch("[0-9a-f]{32}", key_version) is not None, "key version")
    oaep, signer, r, s = _parse(ciphertext)
    name, version = signer.split("/")
    _require(name in sign_keys, "a signing key that is not configured")
    public = vault["signing"].get(f"{name}/{version}")
    _require(public is not None, "a version of the signing key that there never was")
    if not public["enabled"]:
        raise Denied
    _require(public["crv"] == "P-256", "curve")
    fields = (vault["key_id"].encode(), key_version.encode(), signer.encode(), _context_bytes(context), oaep)
    message = b"envelope-codec/1 azure-rsa\0" + b"".join(len(part).to_bytes(2, "big") + part for part in fields)
    point = ec.EllipticCurvePublicNumbers(int(public["x"], 16), int(public["y"], 16), ec.SECP256R1())
    try:
        point.public_key().verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise ValueError("signature") from None
    private = vault["rsa"].get(key_version)
    if private is None:
        raise Denied
    secret = private_key(private).decrypt(oaep, OAEP(MGF1(SHA256()), SHA256(), None))
    _require(len(secret) == 32, "a secret of another length")
    return secret


def private_key(numbers: Mapping[str, str]) -> rsa.RSAPrivateKey:
    """The RSA key with these p, q and e, in hex."""
    p, q, e = (int(numbers[name], 16) for name in "pqe")
    d = pow(e, -1, (p - 1) * (q - 1))
    parts = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    return rsa.RSAPrivateNumbers(p, q, d, *parts, rsa.RSAPublicNumbers(e, p * q)).private_key()


def _parse(ciphertext: bytes) -> tuple[bytes, str, int, int]:
    _require(ciphertext[:1] == b"\x01", "first byte")
    at = 3 + int.from_bytes(ciphertext[1:3], "big")
    oaep = ciphertext[3:at]
    _require(len(oaep) in (256, 384, 512) and at == 3 + len(oaep), "length of the OAEP ciphertext")
    end = at + 2 + int.from_bytes(ciphertext[at : at + 2], "big")
    signer = ciphertext[at + 2 : end]
    _require(3 <= len(signer) <= 160 and len(ciphertext) == end + 64, "length of the signer, or of all")
    text = signer.decode("ascii", "replace")
    _require(re.fullmatch("[0-9A-Za-z-]+/[0-9a-f]{32}", text) is not None, "signer")
    r, s = int.from_bytes(ciphertext[end : end + 32], "big"), int.from_bytes(ciphertext[end + 32 :], "big")
    _require(s <= HALF_ORDER, "s over half the order")
    return oaep, text, r, s


def _context_bytes(context: Mapping[str, str]) -> bytes:
    entries = sorted((name.encode(), value.encode()) for name, value in context.items())
    items = [item for entry in entries for item in entry]
    head = b"envelope-codec/1 context\0" + len(entries).to_bytes(1, "big")
    return head + b"".join(len(item).to_bytes(2, "big") + item for item in items)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)
