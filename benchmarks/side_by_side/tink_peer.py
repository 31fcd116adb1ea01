"""Tink's `KmsEnvelopeAead`: a data key for each message, wrapped by the KMS."""

from __future__ import annotations

from typing import Any

from tink import aead

from benchmarks.side_by_side.entrant import BytesCodec, Entrant, NewCodec
from benchmarks.side_by_side.kms import ARN, InProcessKms

TINK = "Tink, KmsEnvelopeAead"


class KmsAead:
    """The remote AEAD that Tink asks: one call of the KMS for each message, as its integration of AWS KMS does."""

    def __init__(self, kms: InProcessKms) -> None:
        self._client: Any = kms.client

    def encrypt(self, plaintext: bytes, associated_data: bytes) -> bytes:
        """Wrap a data key."""
        reply = self._client.encrypt(KeyId=ARN, Plaintext=plaintext, EncryptionContext=_context(associated_data))
        wrapped: bytes = reply["CiphertextBlob"]
        return wrapped

    def decrypt(self, ciphertext: bytes, associated_data: bytes) -> bytes:
        """Unwrap a data key."""
        reply = self._client.decrypt(KeyId=ARN, CiphertextBlob=ciphertext, EncryptionContext=_context(associated_data))
        key: bytes = reply["Plaintext"]
        return key


def _context(associated_data: bytes) -> dict[str, str]:
    return {"associatedData": associated_data.hex()} if associated_data else {}


def _envelope(kms: InProcessKms) -> NewCodec:
    aead.register()
    primitive = aead.KmsEnvelopeAead(aead.aead_key_templates.AES256_GCM, KmsAead(kms))

    return lambda: BytesCodec(
        lambda data: primitive.encrypt(data, b"default"), lambda data: primitive.decrypt(data, b"default")
    )


def entrants() -> list[Entrant]:
    """Return the one."""
    setup = "Data keys `AES256_GCM`; the remote AEAD is `Encrypt` and `Decrypt` of the same KMS, once a message."
    return [Entrant(TINK, setup, _envelope, "https://developers.google.com/tink/client-side-encryption")]
