"""Vectors for recipients whose master key is an RSA key of Azure Key Vault. See SPEC.md, "Azure RSA keys".

Written from that page alone: RSA-OAEP here is arithmetic, so that the seed can be given, and ECDSA draws its nonce as
in RFC 6979. The same run gives the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from tests.vectors.azure_keys import PRIMES

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
KEY_ID = "azurekv://example.vault.azure.net/payloads"
SECRET = bytes(range(32))
CONTEXT = {
    "temporal-namespace": "prod",
    "envelope-codec:purpose": "wrapping-key",
    "envelope-codec:id": "4e66de563e674a4e09633707b315f640d1279adddd369bcc33bde5e41f9203c1",
}
VERSIONS = {2048: "20" * 16, 3072: "30" * 16, 4096: "40" * 16}
"""The RSA key's versions, by their bits."""

SIGNER, OLDER, OTHER, OFF, CURVE = "signer", "older-signer", "other", "disabled", "p384"
SIGNING_VERSION = "5a" * 16


def _private(name: str) -> ec.EllipticCurvePrivateKey:
    number = int.from_bytes(hashlib.sha256(f"signing key {name}".encode()).digest(), "big") % ORDER
    return ec.derive_private_key(number, ec.SECP384R1() if name == CURVE else ec.SECP256R1())


def vault() -> dict[str, Any]:
    """The keys that the vault of the vectors has."""
    rsa = {}
    for bits, (p, q) in PRIMES.items():
        rsa[VERSIONS[bits]] = {"p": f"{p:x}", "q": f"{q:x}", "e": "10001"}
    signing = {}
    for name in (SIGNER, OLDER, OTHER, OFF, CURVE):
        key = _private(name)
        point = key.public_key().public_numbers()
        size = key.key_size // 8
        signing[f"{name}/{SIGNING_VERSION}"] = {
            "crv": "P-384" if name == CURVE else "P-256",
            "x": f"{point.x:0{2 * size}x}",
            "y": f"{point.y:0{2 * size}x}",
            "enabled": name != OFF,
        }
    return {"key_id": KEY_ID, "rsa": rsa, "signing": signing}


def vectors() -> list[dict[str, Any]]:
    """All of them: the good ones first."""
    return [*_good(), *_layout(), *_binding(), *_signing_keys()]


def _good() -> list[dict[str, Any]]:
    made = [_vector(f"rsa-{bits}", f"an RSA key of {bits} bits", "ok", bits=bits) for bits in PRIMES]
    return [
        *made,
        _vector("second-signing-key", "signed by the second of two configured keys", "ok", signer=OLDER),
        _vector("empty-context", "the context bytes of no entry", "ok", context={}),
        _vector(
            "unicode-context", "names and values in any script", "ok", context={"ключ": "鍵", "temporal-namespace": "ü"}
        ),
    ]


def _layout() -> list[dict[str, Any]]:
    good = _parts()
    whole = _join(good)
    half, signer = ORDER // 2 + 1, _sized(good["signer"])
    cases = {
        "empty": (b"", "no bytes"),
        "version-0": (b"\x00" + whole[1:], "the first byte is not 1"),
        "version-2": (b"\x02" + whole[1:], "the first byte is not 1"),
        "truncated": (whole[:-1], "the last byte is missing"),
        "trailing": (whole + b"\x00", "a byte follows s"),
        "bare-oaep": (good["oaep"], "what whoever has the public key can make"),
        "oaep-length-255": (_join({**good, "oaep": good["oaep"][1:]}, bound=True), "an OAEP ciphertext of 255 bytes"),
        "oaep-length-128": (_join({**good, "oaep": good["oaep"][:128]}, bound=True), "an OAEP ciphertext of 128 bytes"),
        "oaep-length-past-end": (b"\x01\xff\xff" + whole[3:], "a length that points past the end"),
        "signer-missing": (_join({**good, "signer": b""}, bound=True), "an empty signer"),
        "signer-no-version": (_join({**good, "signer": b"signer"}, bound=True), "a signer without a version"),
        "signer-capitals": (_join({**good, "signer": good["signer"].upper()}, bound=True), "a version in capitals"),
        "signer-161": (_join({**good, "signer": b"n" * 128 + good["signer"][6:]}, bound=True), "a signer of 161 bytes"),
        "signer-path": (_join({**good, "signer": b"../../x/" + b"5a" * 16}, bound=True), "a signer with more slashes"),
        "high-s": (
            whole[:-32] + (ORDER - int.from_bytes(whole[-32:], "big")).to_bytes(32, "big"),
            "s over half the order: otherwise valid",
        ),
        "s-least-high": (whole[:-32] + half.to_bytes(32, "big"), "s is half the order and one"),
        "der-signature": (
            b"\x01" + _sized(good["oaep"]) + signer + _der(whole[-64:]),
            "the signature in DER instead of r and s",
        ),
    }
    return [_bad(name, comment, ciphertext) for name, (ciphertext, comment) in cases.items()]


def _binding() -> list[dict[str, Any]]:
    good = _parts()
    whole = _join(good)
    other_context = {**CONTEXT, "temporal-namespace": "dev"}
    return [
        _bad("other-context", "signed for another namespace", whole, context=other_context),
        _bad("signed-for-other-context", "the same, the other way round", _join(_parts(context=other_context))),
        _bad("other-key-id", "signed for another master key", _join(_parts(key_id=KEY_ID + "2"))),
        _bad("other-version", "recorded under another version of the RSA key", whole, key_version=VERSIONS[3072]),
        _bad("no-version", "no version is recorded", whole, key_version=""),
        _bad("short-version", "a version of 31 digits", whole, key_version=VERSIONS[2048][1:]),
        _bad("capital-version", "a version in capitals", _join(_parts(key_version="AB" * 16)), key_version="AB" * 16),
        _bad(
            "other-oaep",
            "another OAEP ciphertext than the signed one",
            _join({**good, "oaep": _oaep(SECRET, 2048, b"b")}),
        ),
        _bad("flipped-r", "a bit of r is another", whole[:-64] + bytes([whole[-64] ^ 1]) + whole[-63:]),
        _bad("zero-signature", "r and s are 0", whole[:-64] + bytes(64)),
        _bad(
            "label",
            "OAEP with a label, signed: the vault does not unwrap it",
            _join(_parts(oaep=_oaep(SECRET, 2048, label=b"x"))),
        ),
        _bad(
            "sha1-oaep",
            "OAEP with SHA-1, signed: the vault does not unwrap it",
            _join(_parts(oaep=_oaep(SECRET, 2048, digest="sha1"))),
        ),
        _bad("short-secret", "31 bytes, signed: a secret has 32", _join(_parts(oaep=_oaep(SECRET[:31], 2048)))),
    ]


def _signing_keys() -> list[dict[str, Any]]:
    unknown = _join(_parts(signing=OTHER, named=SIGNER))
    return [
        _bad(
            "unconfigured-signer", "signed by a key of the vault that is not configured", _join(_parts(signing=OTHER))
        ),
        _bad("unknown-signer", "signed by another key than it says", unknown),
        _bad("name-in-capitals", "the configured name in other letters", _join(_parts(named="Signer"))),
        _bad("no-sign-keys", "no signing key is configured", _join(_parts()), sign_keys=[]),
        _bad("version-that-never-was", "the signing key has no such version", _join(_parts(signing_version="5b" * 16))),
        _bad("p384", "the signing key is not of P-256", _join(_parts(named=CURVE)), sign_keys=[CURVE]),
        {
            **_bad(
                "disabled-signer", "the version that signed is disabled", _join(_parts(signing=OFF)), sign_keys=[OFF]
            ),
            "expect": "KeyDenied",
        },
    ]


def _vector(name: str, comment: str, expect: str, *, bits: int = 2048, **settings: Any) -> dict[str, Any]:
    signer, context = settings.get("signer", SIGNER), settings.get("context", CONTEXT)
    parts = _parts(oaep=_oaep(SECRET, bits), key_version=VERSIONS[bits], signing=signer, context=context)
    return {
        "name": f"azure-{name}",
        "comment": comment,
        "expect": expect,
        "key_version": VERSIONS[bits],
        "sign_keys": [SIGNER, OLDER],
        "context": context,
        "ciphertext": _join(parts).hex(),
        "secret": SECRET.hex(),
    }


def _bad(name: str, comment: str, ciphertext: bytes, **other: Any) -> dict[str, Any]:
    made = {**_vector(name, comment, "InvalidCiphertext"), "ciphertext": ciphertext.hex(), **other}
    del made["secret"]
    return made


def _parts(**other: Any) -> dict[str, Any]:
    """What belongs into a ciphertext, and its signature over ``other`` where that is given."""
    signing = other.get("signing", SIGNER)
    named = other.get("named", signing)
    signer = f"{named}/{other.get('signing_version', SIGNING_VERSION)}".encode()
    oaep = other.get("oaep") or _oaep(SECRET, 2048)
    bound = (
        other.get("key_id", KEY_ID).encode(),
        other.get("key_version", VERSIONS[2048]).encode(),
        signer,
        _context_bytes(other.get("context", CONTEXT)),
        oaep,
    )
    return {"oaep": oaep, "signer": signer, "signing": signing, "bound": bound}


def _join(parts: Mapping[str, Any], *, bound: bool = False) -> bytes:
    """The ciphertext of ``parts``. With ``bound``, what the parts are now is signed, not what they were."""
    signed = (*parts["bound"][:2], parts["signer"], parts["bound"][3], parts["oaep"]) if bound else parts["bound"]
    message = b"envelope-codec/1 azure-rsa\x00" + b"".join(map(_sized, signed))
    digest = hashlib.sha256(message).digest()
    private = _private(SIGNER if parts["signing"] == CURVE else parts["signing"])
    r, s = decode_dss_signature(private.sign(digest, ec.ECDSA(Prehashed(SHA256()), deterministic_signing=True)))
    signature = r.to_bytes(32, "big") + min(s, ORDER - s).to_bytes(32, "big")
    return b"\x01" + _sized(parts["oaep"]) + _sized(parts["signer"]) + signature


def _oaep(secret: bytes, bits: int, seed: bytes = b"a", *, label: bytes = b"", digest: str = "sha256") -> bytes:
    """RSA-OAEP (RFC 8017, 7.1.1) with a seed that is known."""
    p, q = PRIMES[bits]
    size, length = bits // 8, hashlib.new(digest).digest_size
    masked = hashlib.new(digest, b"seed " + seed).digest()
    block = hashlib.new(digest, label).digest() + bytes(size - len(secret) - 2 * length - 2) + b"\x01" + secret
    block = _xor(block, _mgf1(masked, len(block), digest))
    masked = _xor(masked, _mgf1(block, length, digest))
    return pow(int.from_bytes(b"\x00" + masked + block, "big"), 65537, p * q).to_bytes(size, "big")


def _mgf1(seed: bytes, length: int, digest: str) -> bytes:
    blocks = (hashlib.new(digest, seed + count.to_bytes(4, "big")).digest() for count in range(length // 20 + 1))
    return b"".join(blocks)[:length]


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _context_bytes(context: Mapping[str, str]) -> bytes:
    entries = sorted((name.encode(), value.encode()) for name, value in context.items())
    return b"envelope-codec/1 context\x00" + bytes([len(entries)]) + b"".join(_sized(i) for e in entries for i in e)


def _der(signature: bytes) -> bytes:
    numbers = b""
    for half in (signature[:32], signature[32:]):
        number = half.lstrip(b"\x00")
        number = (b"\x00" if number[:1] >= b"\x80" else b"") + number
        numbers += b"\x02" + bytes([len(number)]) + number
    return b"\x30" + bytes([len(numbers)]) + numbers


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
