"""The ciphertext of a recipient whose master key is an RSA key: its layout, byte for byte, and what is signed."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from envelope_codec_azure._signed import NotSigned, SignedCiphertext, Signer, digest_of, with_low_s

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
VERSION = "0123456789abcdef" * 2
SIGNER = Signer("signer", VERSION)
OAEP = bytes(range(256))
LOW = (1).to_bytes(32, "big") + (2).to_bytes(32, "big")
GOOD = SignedCiphertext(OAEP, SIGNER, LOW)


def u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


def layout(
    *, version: bytes = b"\x01", oaep: bytes = OAEP, signer: bytes = str(SIGNER).encode(), signature: bytes = LOW
) -> bytes:
    return version + u16(len(oaep)) + oaep + u16(len(signer)) + signer + signature


def test_the_layout_is_that_of_the_specification() -> None:
    assert bytes(GOOD) == layout()
    assert len(bytes(GOOD)) == 1 + 2 + 256 + 2 + 39 + 64


@pytest.mark.parametrize("size", [256, 384, 512])
def test_each_size_of_rsa_comes_back(size: int) -> None:
    signed = SignedCiphertext(bytes(size), SIGNER, LOW)
    assert SignedCiphertext.parse(bytes(signed)) == signed


@pytest.mark.parametrize("name", ["a", "A-9", "n" * 127])
def test_each_name_of_a_key_comes_back(name: str) -> None:
    signed = SignedCiphertext(OAEP, Signer(name, VERSION), LOW)
    assert SignedCiphertext.parse(bytes(signed)).signer.name == name
    assert len(str(signed.signer)) <= 160


def test_it_fits_into_a_record_whatever_the_key() -> None:
    assert len(bytes(SignedCiphertext(bytes(512), Signer("n" * 127, VERSION), LOW))) <= 4096


def test_a_truncated_one_is_refused_wherever_it_ends() -> None:
    for end in range(len(layout())):
        refuse(layout()[:end])


MALFORMED = {
    "nothing": b"",
    "version 0": layout(version=b"\x00"),
    "version 2": layout(version=b"\x02"),
    "a byte after it": layout() + b"\x00",
    "a byte before it": b"\x01" + layout(),
    "an OAEP ciphertext of 0 bytes": layout(oaep=b""),
    "an OAEP ciphertext of 128 bytes": layout(oaep=bytes(128)),
    "an OAEP ciphertext of 255 bytes": layout(oaep=bytes(255)),
    "an OAEP ciphertext of 257 bytes": layout(oaep=bytes(257)),
    "an OAEP ciphertext of 1024 bytes": layout(oaep=bytes(1024)),
    "a length that points past the end": b"\x01" + u16(4000) + layout()[3:],
    "a longest length": b"\x01\xff\xff" + layout()[3:],
    "no signer": layout(signer=b""),
    "a signer of two bytes": layout(signer=b"a/"),
    "a signer without a version": layout(signer=b"signer"),
    "a signer with an empty version": layout(signer=b"signer/"),
    "a signer with an empty name": layout(signer=b"/" + VERSION.encode()),
    "a signer with a version of 31 digits": layout(signer=b"signer/" + VERSION[1:].encode()),
    "a signer with a version in capitals": layout(signer=b"signer/" + VERSION.upper().encode()),
    "a signer with a version that is no hex": layout(signer=b"signer/" + b"g" * 32),
    "a signer with a third part": layout(signer=f"signer/{VERSION}/x".encode()),
    "a signer with a line end": layout(signer=f"signer/{VERSION}\n".encode()),
    "a signer with a dot": layout(signer=f"sign.er/{VERSION}".encode()),
    "a signer that leads elsewhere": layout(signer=f"../x/{VERSION}".encode()),
    "a signer that is not ASCII": layout(signer=f"sígner/{VERSION}".encode()),
    "a signer of 161 bytes": layout(signer=f"{'n' * 128}/{VERSION}".encode()),
    "a signature of 63 bytes": layout(signature=LOW[:63]),
    "a signature of 65 bytes": layout(signature=LOW + b"\x00"),
    "a signature in DER": layout(signature=encode_dss_signature(1, 2)),
    "s over half the order": layout(signature=LOW[:32] + (ORDER // 2 + 1).to_bytes(32, "big")),
    "s of the order": layout(signature=LOW[:32] + ORDER.to_bytes(32, "big")),
    "s of all ones": layout(signature=LOW[:32] + b"\xff" * 32),
}


@pytest.mark.parametrize("malformed", MALFORMED)
def test_what_is_malformed_is_refused(malformed: str) -> None:
    refuse(MALFORMED[malformed])


def test_s_of_half_the_order_is_taken() -> None:
    SignedCiphertext.parse(layout(signature=LOW[:32] + (ORDER // 2).to_bytes(32, "big")))


def refuse(ciphertext: bytes) -> None:
    with pytest.raises(NotSigned):
        SignedCiphertext.parse(ciphertext)


# What is signed

SIGNED: dict[str, Any] = {
    "key_id": "azurekv://example.vault.azure.net/key",
    "key_version": VERSION,
    "signer": SIGNER,
    "context": b"context",
    "oaep": OAEP,
}


def test_what_is_signed_is_that_of_the_specification() -> None:
    message = b"envelope-codec/1 azure-rsa\x00"
    for part in (SIGNED["key_id"].encode(), VERSION.encode(), f"signer/{VERSION}".encode(), b"context", OAEP):
        message += u16(len(part)) + part
    assert digest_of(**SIGNED) == hashlib.sha256(message).digest()


@pytest.mark.parametrize(
    "other",
    [
        {"key_id": "azurekv://example.vault.azure.net/kez"},
        {"key_version": VERSION[::-1]},
        {"signer": Signer("signes", VERSION)},
        {"signer": Signer("signer", VERSION[::-1])},
        {"context": b"contexT"},
        {"context": b""},
        {"oaep": OAEP[::-1]},
        {"key_id": "azurekv://example.vault.azure.net/ke", "key_version": "y" + VERSION},
    ],
    ids=lambda other: ",".join(other),
)
def test_each_part_is_signed(other: dict[str, Any]) -> None:
    assert digest_of(**{**SIGNED, **other}) != digest_of(**SIGNED)


PRIVATE = ec.generate_private_key(ec.SECP256R1())
DIGEST = digest_of(**SIGNED)


def signature(private: ec.EllipticCurvePrivateKey = PRIVATE, digest: bytes = DIGEST, *, high: bool = False) -> bytes:
    r, s = decode_dss_signature(private.sign(digest, ec.ECDSA(Prehashed(SHA256()))))
    if (s > ORDER // 2) is not high:
        s = ORDER - s
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def is_signed(made: bytes) -> bool:
    return SignedCiphertext(OAEP, SIGNER, made).is_signed_by(PRIVATE.public_key(), DIGEST)


def test_a_signature_of_the_key_is_valid() -> None:
    assert is_signed(signature())


def test_a_signature_of_another_key_is_not() -> None:
    assert not is_signed(signature(ec.generate_private_key(ec.SECP256R1())))


def test_a_signature_of_something_else_is_not() -> None:
    assert not is_signed(signature(digest=bytes(32)))


@pytest.mark.parametrize(
    "numbers", [(0, 1), (1, 0), (0, 0), (ORDER, 1), (ORDER + 1, 1), (2**256 - 1, 1)], ids=lambda pair: str(pair)[:12]
)
def test_numbers_out_of_range_are_no_signature(numbers: tuple[int, int]) -> None:
    assert not is_signed(b"".join(number.to_bytes(32, "big") for number in numbers))


def test_a_high_s_becomes_a_low_one() -> None:
    high = signature(high=True)
    assert is_signed(high), "both are valid to the algorithm"
    low = with_low_s(high)
    assert low != high
    assert is_signed(low)
    refuse(layout(signature=high))
    assert SignedCiphertext.parse(layout(signature=low)).signature == low


def test_a_low_s_stays() -> None:
    low = signature()
    assert with_low_s(low) == low
    half = low[:32] + (ORDER // 2).to_bytes(32, "big")
    assert with_low_s(half) == half
