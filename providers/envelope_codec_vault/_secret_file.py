"""Files that hold a credential and are replaced by somebody else: a Vault agent, Kubernetes, an operator."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_path
from envelope_codec.provider import Failed
from envelope_codec_vault._hints import UNREADABLE

MAX_BYTES = 64 * 1024
# HTTP clients quote a header value that they can't send in their error, so nothing else may become one.
_CREDENTIAL = re.compile(r"[!-~]+")

_Stamp = tuple[int, int, int, int]


class SecretFile:
    """A file with one credential, white space around it ignored.

    Args:
        path: the file; ``~`` is the home folder.
        setting: its name in messages.

    Raises:
        ConfigurationError: it can't be read now, or holds no credential.
    """

    def __init__(self, path: str | os.PathLike[str], setting: str) -> None:
        self._path = Path(path).expanduser()
        self._stamp: _Stamp | None = None
        shown = show_path(self._path)
        try:
            text = self._text()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "not a text file"
            raise ConfigurationError(f"Vault setting {setting}: {shown} can't be read: {why}") from None
        if not is_credential(text):
            raise ConfigurationError(f"Vault setting {setting}: {shown} must hold one credential, one line")

    @property
    def path(self) -> str:
        """Where it is."""
        return str(self._path)

    def read(self) -> str:
        """Read the credential as it is now.

        Raises:
            Failed: the file can't be read, or holds no credential. That says nothing about the key.
        """
        try:
            text = self._text()
        except (OSError, ValueError):
            text = ""
        if not is_credential(text):
            raise Failed(UNREADABLE)
        return text

    def changed(self) -> bool:
        """Whether it is another file, or has other contents, than at the last `read`."""
        try:
            return _stamp(self._path.stat()) != self._stamp
        except OSError:
            return False

    def _text(self) -> str:
        # Without waiting: a pipe that nobody writes to would hold up every call, and tell nothing.
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:  # noqa: PTH123 - pathlib opens no descriptors
            status = os.fstat(descriptor)
            if stat.S_ISFIFO(status.st_mode) or stat.S_ISDIR(status.st_mode):
                raise OSError(errno.EINVAL, "a folder or a pipe, and no file")
            stamp = _stamp(status)
            text = file.read(MAX_BYTES).decode("ascii").strip()
        self._stamp = stamp
        return text


def is_credential(text: str) -> bool:
    return bool(_CREDENTIAL.fullmatch(text))


def _stamp(status: os.stat_result) -> _Stamp:
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
