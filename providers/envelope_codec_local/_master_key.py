"""`LocalKeyFile`: a master key in a local file."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import Unwrapped, WrappedSecret, context_bytes
from envelope_codec.provider import Failed, asks_kms, frameless, parse_options
from envelope_codec_local import _hints as hints
from envelope_codec_local._connection import Connection
from envelope_codec_local._facts import FACTS
from envelope_codec_local.key_file import is_version

_NONCE_BYTES = 12
_TAG_BYTES = 16


class LocalKeyFile:
    """A `MasterKey` whose versions lie in a key file.

    The file is read again whenever it has changed, so that rotating and disabling need no restart. It must belong to
    this process's user and be closed to everybody else.

    Args:
        path: absolute path of the key file; of a symbolic link, the target counts.

    Raises:
        ConfigurationError: the path is relative, or the file is missing, not private or not valid.
    """

    @frameless
    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._connection = Connection(path)

    @classmethod
    def from_uri(cls, uri: str, /) -> LocalKeyFile:
        """Make the master key of ``localfile:///absolute/path``, percent-encoded where needed; it has no options."""
        parsed, _ = parse_options(uri, FACTS)
        if parsed.authority or not parsed.path:
            raise ConfigurationError(
                f"key URI {parsed.shown!r} must hold an absolute path, after three slashes: localfile:///absolute/path"
            )
        return cls(f"/{parsed.path}")

    def __repr__(self) -> str:
        return f"LocalKeyFile({self.key_id!r})"

    @property
    def key_id(self) -> str:
        """``localfile://`` and the fingerprint of the key's first version; the path is no part of it."""
        return f"localfile://{self._connection.id}"

    def accepts(self, key_id: str) -> bool:
        """Whether ``key_id`` is this key's own."""
        return key_id == self.key_id

    @asks_kms("wrap")
    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        """Encrypt under the primary version with AES-256-GCM: nonce (12 bytes), ciphertext and tag."""
        version, key = self._find(None)
        nonce = os.urandom(_NONCE_BYTES)
        ciphertext = nonce + AESGCM(key).encrypt(nonce, secret, context_bytes(context))
        return WrappedSecret(self.key_id, version, ciphertext)

    @asks_kms("unwrap")
    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        """Decrypt with the recorded version, which proves itself: each has key material of its own."""
        if not self.accepts(wrapped.key_id):
            raise Failed(hints.OTHER_KEY)
        if not is_version(wrapped.key_version) or len(wrapped.ciphertext) < _NONCE_BYTES + _TAG_BYTES:
            raise Failed(hints.NO_CIPHERTEXT)
        version, key = self._find(wrapped.key_version)
        nonce, ciphertext = wrapped.ciphertext[:_NONCE_BYTES], wrapped.ciphertext[_NONCE_BYTES:]
        try:
            return Unwrapped(AESGCM(key).decrypt(nonce, ciphertext, context_bytes(context)), version)
        except InvalidTag:
            raise Failed(hints.BAD_CIPHERTEXT) from None

    def close(self) -> None:
        """Nothing is open between calls."""

    def _find(self, version: str | None) -> tuple[str, bytes]:
        """Find the number and key of ``version`` (None: the primary one), if it may be used now."""
        file = self._connection.get()
        if file.id != self._connection.id:
            raise Failed(hints.ANOTHER_KEY)
        version = version or file.primary
        if version not in file.versions:
            raise Failed(hints.REMOVED)
        if file.is_disabled(version):
            raise Failed(hints.DISABLED)
        return version, file.versions[version]
