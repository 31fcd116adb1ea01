"""What many have before they come here: one static key, in the wire format of the codec in Temporal's samples."""

from __future__ import annotations

import os
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

ENCODING = b"binary/encrypted"
KEY_ID = "static-key"
KEY = bytes(range(32))
_NONCE = 12  # bytes


class StaticKeyCodec(PayloadCodec):
    """Seals with AES-256-GCM under one key, which every process has. The nonce comes before the ciphertext.

    Args:
        sealing: False for one that only opens.
    """

    def __init__(self, key: bytes = KEY, key_id: str = KEY_ID, *, sealing: bool = True) -> None:
        self._cipher = AESGCM(key)
        self._key_id = key_id.encode()
        self._sealing = sealing

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._seal(payload) for payload in payloads] if self._sealing else list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._open(payload) for payload in payloads]

    def _seal(self, payload: Payload) -> Payload:
        nonce = os.urandom(_NONCE)
        sealed = Payload(data=nonce + self._cipher.encrypt(nonce, payload.SerializeToString(), None))
        sealed.metadata["encoding"] = ENCODING
        sealed.metadata["encryption-key-id"] = self._key_id
        return sealed

    def _open(self, payload: Payload) -> Payload:
        if payload.metadata["encoding"] != ENCODING:
            return payload
        if payload.metadata["encryption-key-id"] != self._key_id:
            raise ValueError(f"sealed under another key than {self._key_id.decode()}")
        nonce, ciphertext = payload.data[:_NONCE], payload.data[_NONCE:]
        return Payload.FromString(self._cipher.decrypt(nonce, ciphertext, None))


def from_deployment() -> StaticKeyCodec:
    """Make the codec, for ``legacy_codecs = ["…:from_deployment"]``. Others get the key from their secrets."""
    return StaticKeyCodec()
