"""A codec with one static AES-GCM key, as in Temporal's samples: what all others are compared with."""

from __future__ import annotations

import os
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec


class StaticKeyCodec(PayloadCodec):
    """One AES-256-GCM key for everything.

    Args:
        key: 32 bytes; without it, random ones.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._cipher = AESGCM(key or os.urandom(32))

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload."""
        return [
            Payload(
                metadata={"encoding": b"binary/encrypted", "encryption-key-id": b"key"},
                data=self._encrypt(payload.SerializeToString()),
            )
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt each payload that is encrypted."""
        opened = []
        for payload in payloads:
            if payload.metadata.get("encoding", b"").decode() != "binary/encrypted":
                opened.append(payload)
                continue
            if payload.metadata.get("encryption-key-id", b"").decode() != "key":
                raise ValueError("another key")
            opened.append(Payload.FromString(self._decrypt(payload.data)))
        return opened

    def _encrypt(self, data: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + self._cipher.encrypt(nonce, data, None)

    def _decrypt(self, data: bytes) -> bytes:
        return self._cipher.decrypt(data[:12], data[12:], None)
