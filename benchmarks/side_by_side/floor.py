"""The cryptography of an envelope without the rest of this library: what no code in Python can be quicker than."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

_SHA256 = SHA256()
_RECORD = bytes(600)  # a header has about so many bytes beside the wrapped data key


class FloorCodec(PayloadCodec):
    """A fresh data key for each payload, wrapped with AES-KW, a cipher key and a commitment by HKDF, and AES-GCM.

    It checks nothing but tags and commitment, knows one wrapping key, and writes two metadata entries. Not for use.

    Args:
        key: the wrapping key, 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload."""
        sealed = []
        for payload in payloads:
            chance = os.urandom(44)
            wrapped = aes_key_wrap(self._key, chance[:32])
            block = _derive(chance[:32], wrapped)
            data = AESGCM(block[:32]).encrypt(chance[32:], payload.SerializeToString(), None)
            metadata = {"encoding": b"binary/encrypted", "encryption-data-key": wrapped}
            sealed.append(Payload(metadata=metadata, data=block[32:] + chance[32:] + data))
        return sealed

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt each payload."""
        opened = []
        for payload in payloads:
            wrapped, data = payload.metadata["encryption-data-key"], payload.data
            block = _derive(aes_key_unwrap(self._key, wrapped), wrapped)
            if not compare_digest(block[32:], data[:32]):
                raise ValueError("the commitment is another key's")
            opened.append(Payload.FromString(AESGCM(block[:32]).decrypt(data[32:44], data[44:], None)))
        return opened


def _derive(data_key: bytes, wrapped: bytes) -> bytes:
    """Return a cipher key and a commitment, bound to a header."""
    return HKDFExpand(_SHA256, 64, sha256(wrapped + _RECORD).digest()).derive(data_key)
