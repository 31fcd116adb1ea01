"""Master keys in a local file, ``localfile:///absolute/path``: for development and tests, not for production.

`LocalKeyFile` behaves as a KMS does: it has versions, rotation, and refuses when a version or the key is disabled.
``envelope-codec keygen`` writes the file; nothing here does. The format is in `envelope_codec_local.key_file`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from envelope_codec.errors import ConfigurationError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.frames import frameless
from envelope_codec.kms import Unwrapped, WrappedSecret, context_bytes, parse_key_uri
from envelope_codec.provider import asks_kms
from envelope_codec_local.key_file import MAX_BYTES, InvalidKeyFile, KeyFile, is_version

__all__ = ["LocalKeyFile"]

_NONCE_BYTES = 12
_TAG_BYTES = 16
_Stamp = tuple[int, ...]


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
        self._path = Path(path)
        if not self._path.is_absolute():
            raise ConfigurationError(f"key file path {str(path)!r} is relative: give the absolute path")
        try:
            # Threads replace this tuple as a whole and use what they read themselves. A lock would have to
            # survive a fork, and the worst that can happen without one is that two threads read the file.
            self._loaded = _load(self._path)
        except (OSError, ValueError) as error:
            raise ConfigurationError(_defect(self._path, error)) from None
        self._id = self._loaded[1].id

    @classmethod
    def from_uri(cls, uri: str, /) -> LocalKeyFile:
        """The master key of ``localfile:///absolute/path``, percent-encoded where needed; it has no options."""
        parsed = parse_key_uri(uri, scheme="localfile")
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
        return f"localfile://{self._id}"

    def accepts(self, key_id: str) -> bool:
        return key_id == self.key_id

    @asks_kms("wrap")
    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        """AES-256-GCM under the primary version: nonce (12 bytes), ciphertext and tag."""
        version, key = self._version("wrap", None)
        nonce = os.urandom(_NONCE_BYTES)
        ciphertext = nonce + AESGCM(key).encrypt(nonce, secret, context_bytes(context))
        return WrappedSecret(self.key_id, version, ciphertext)

    @asks_kms("unwrap")
    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        if not self.accepts(wrapped.key_id):
            raise InvalidCiphertext("wrapped by another key file", operation="unwrap", key_id=self.key_id)
        if not is_version(wrapped.key_version) or len(wrapped.ciphertext) < _NONCE_BYTES + _TAG_BYTES:
            raise InvalidCiphertext("not a ciphertext of a key file", operation="unwrap", key_id=self.key_id)
        version, key = self._version("unwrap", wrapped.key_version)
        nonce, ciphertext = wrapped.ciphertext[:_NONCE_BYTES], wrapped.ciphertext[_NONCE_BYTES:]
        try:
            return Unwrapped(AESGCM(key).decrypt(nonce, ciphertext, context_bytes(context)), version)
        except InvalidTag:
            raise InvalidCiphertext(
                "the ciphertext or its context was changed", operation="unwrap", key_id=self.key_id
            ) from None

    def close(self) -> None:
        """Nothing is open between calls."""

    def _version(self, operation: str, version: str | None) -> tuple[str, bytes]:
        """The number and key of ``version`` (None: the primary one), if it may be used now."""
        file = self._current(operation)
        if file.id != self._id:
            raise KeyDenied("the key file now holds another key", operation=operation, key_id=self.key_id)
        version = version or file.primary
        if version not in file.versions:
            raise KeyDenied("this version was removed from the key file", operation=operation, key_id=self.key_id)
        if file.is_disabled(version):
            raise KeyDenied("this version is disabled in the key file", operation=operation, key_id=self.key_id)
        return version, file.versions[version]

    def _current(self, operation: str) -> KeyFile:
        stamp, file = self._loaded
        try:
            if _stamp(self._path.stat()) != stamp:
                stamp, file = self._loaded = _load(self._path)
        except (OSError, ValueError) as error:
            raise KmsUnavailable(_reason(error), operation=operation, key_id=self.key_id) from None
        return file


class _NotPrivate(ValueError):
    """The file belongs to another user, or others can read or write it."""


def _load(path: Path) -> tuple[_Stamp, KeyFile]:
    with open(path, "rb", opener=_open_at_once) as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise InvalidKeyFile("it is not a regular file")
        if status.st_uid != os.geteuid():
            raise _NotPrivate("it belongs to another user: make a copy of your own, with mode 0600")
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise _NotPrivate(f"others can read or write it: chmod 600 {quote(str(path))}")
        return _stamp(status), KeyFile.parse(stream.read(MAX_BYTES + 1))


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # or a named pipe would wait for a writer


def _stamp(status: os.stat_result) -> _Stamp:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _defect(path: Path, error: Exception) -> str:
    """What to tell whoever configures the key; may name the path."""
    if isinstance(error, FileNotFoundError):
        return f"key file {str(path)!r} is missing: make it with envelope-codec keygen {quote(str(path))}"
    if isinstance(error, OSError):
        return f"key file {str(path)!r} can't be read: {error.strerror}"
    return f"key file {str(path)!r} can't be used: {error}"


def _reason(error: Exception) -> str:
    """The same for a running worker, whose errors are stored in clear: fixed texts."""
    if isinstance(error, FileNotFoundError):
        return "the key file is missing"
    if isinstance(error, OSError):
        return "the key file can't be read"
    if isinstance(error, _NotPrivate):
        return "the key file is no longer private to its owner"
    return "the key file is no longer valid"
