"""The key file on disk, read again whenever it has changed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from shlex import quote

from envelope_codec.errors import ConfigurationError
from envelope_codec.provider import Failed
from envelope_codec_local._errors import NotPrivate, describe_defect, look_up
from envelope_codec_local.key_file import MAX_BYTES, InvalidKeyFile, KeyFile

_Stamp = tuple[int, ...]


class Connection:
    """A key file. It must belong to this process's user and be closed to everybody else.

    Args:
        path: absolute path; of a symbolic link, the target counts.

    Raises:
        ConfigurationError: the path is relative, or the file is missing, not private or not valid.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        if not self._path.is_absolute():
            raise ConfigurationError(f"key file path {str(path)!r} is relative: give the absolute path")
        try:
            # Threads replace this tuple as a whole and use what they read themselves. A lock would have to
            # survive a fork, and the worst that can happen without one is that two threads read the file.
            self._loaded = load(self._path)
        except (OSError, ValueError) as error:
            raise ConfigurationError(describe_defect(self._path, error)) from None
        self.id = self._loaded[1].id

    def get(self) -> KeyFile:
        """Get what the file holds now.

        Raises:
            Failed: the file can't be used any more.
        """
        stamp, file = self._loaded
        try:
            if _stamp(self._path.stat()) != stamp:
                stamp, file = self._loaded = load(self._path)
        except (OSError, ValueError) as error:
            raise Failed(look_up(error)) from None
        return file


def load(path: Path) -> tuple[_Stamp, KeyFile]:
    """Read a key file, and what tells whether it has changed since. Raises `OSError`, and `ValueError`: not valid."""
    with open(path, "rb", opener=_open_at_once) as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise InvalidKeyFile("it is not a regular file")
        if status.st_uid != os.geteuid():
            raise NotPrivate("it belongs to another user: make a copy of your own, with mode 0600")
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise NotPrivate(f"others can read or write it: chmod 600 {quote(str(path))}")
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
