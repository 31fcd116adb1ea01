"""All that a provider needs: a callable that takes a key URI and returns a `MasterKey`, and an entry point."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from envelope_codec.errors import InvalidCiphertext
from envelope_codec.kms import Unwrapped, WrappedSecret, context_bytes, parse_key_uri

_keys: dict[str, bytes] = {}


class MemoryKey:
    """``testkms://NAME``: one random key a name, gone with the process."""

    def __init__(self, uri: str, /) -> None:
        name = parse_key_uri(uri, scheme="testkms").authority
        self._aead = AESGCM(_keys.setdefault(name, os.urandom(32)))
        self._key_id = f"testkms://{name}"

    @property
    def key_id(self) -> str:
        return self._key_id

    def accepts(self, key_id: str) -> bool:
        return key_id == self._key_id

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        nonce = os.urandom(12)
        ciphertext = nonce + self._aead.encrypt(nonce, secret, context_bytes(context))
        return WrappedSecret(self._key_id, "", ciphertext)

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        nonce, ciphertext = wrapped.ciphertext[:12], wrapped.ciphertext[12:]
        try:
            secret = self._aead.decrypt(nonce, ciphertext, context_bytes(context))
        except (InvalidTag, ValueError):
            raise InvalidCiphertext("does not authenticate", operation="unwrap", key_id=self._key_id) from None
        return Unwrapped(secret, "")  # the key has no versions, so a success stands for the whole of it

    def close(self) -> None:
        pass
