"""A keystore in a directory: for development and tests, or on a file system that all workers share."""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile

from envelope_codec.datastore.folder import Folder
from envelope_codec.errors import StoreUnavailable
from envelope_codec.keystore import MOST_READ, PROBE, Kept, conflict, key_of_digits
from envelope_codec.keystore_role import Role

_PAGE = 200
_LOCK_SECONDS = 5.0
_LOCK_PAUSE = 0.01
_LOCK = ".lock"


class FileKeystore:
    """A `Keystore` in a directory: ``file:///path``. It must exist. Only the owner can read the files.

    A row is a file, ``ab/HEX``, whose revision is a digest of it. Who changes a row locks the directory (``flock``): on
    a network file system, the lock must hold between its clients.
    """

    def __init__(self, url: str) -> None:
        self._folder = Folder(url, "keystore", "no option")

    async def get(self, key: bytes) -> Kept | None:
        """Return what is kept under ``key``, if anything is."""
        return await self._folder.call("get", partial(self._read, key))

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
        """Keep ``data`` under ``key`` if what is there has this revision. Raises `RowConflict` if it has not."""
        await self._folder.call("put", partial(self._replace, key, data, revision))
        return _revision(data)

    async def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
        """Yield all rows whose key is greater than ``after``."""
        keys = [key for key in await self._folder.call("list", self._list) if key > after]
        for start in range(0, len(keys), _PAGE):
            page = partial(self._read_all, keys[start : start + _PAGE])
            for kept in await self._folder.call("list", page):
                yield kept

    async def check(self) -> None:
        """Read, and make a file and take it away again. Raises if that is not possible."""
        await self.get(PROBE)
        await self.try_create()

    async def try_create(self) -> None:
        """Lock the directory, and make a file in it that is taken away again."""
        await self._folder.call("put", self._try)

    async def try_replace(self) -> None:
        """Do as `try_create` does: a directory has one permission for both."""
        await self.try_create()

    def grants(self, role: Role) -> str:
        """Return the command that gives the directory to the one user that all processes must have."""
        path = shlex.quote(str(self._folder.path))
        return f"chown -R USER {path} && chmod -R u+rwX,go= {path}"

    async def close(self) -> None:
        """End the threads. Does not wait for calls under way."""
        self._folder.close()

    def _path(self, key: bytes) -> Path:
        return self._folder.path / key.hex()[:2] / key.hex()

    def _read(self, key: bytes) -> Kept | None:
        try:
            with self._path(key).open("rb") as file:
                data = file.read(MOST_READ)
        except FileNotFoundError:
            self._folder.check()
            return None
        return Kept(key, data, _revision(data))

    def _read_all(self, keys: list[bytes]) -> list[Kept]:
        return [kept for kept in map(self._read, keys) if kept is not None]

    def _replace(self, key: bytes, data: bytes, revision: str | None) -> None:
        self._folder.check()
        with _locked(self._folder.path / _LOCK):
            kept = self._read(key)
            if (kept.revision if kept else None) != revision:
                raise conflict()
            self._folder.write(self._path(key), data)

    def _try(self) -> None:
        self._folder.check()
        with _locked(self._folder.path / _LOCK), TemporaryFile(dir=self._folder.path) as file:
            file.write(bytes(1))

    def _list(self) -> list[bytes]:
        folders = [path for path in self._folder.path.iterdir() if path.is_dir()]
        names = (path.name for folder in folders for path in folder.iterdir() if path.name[:2] == folder.name)
        return sorted(key for key in map(key_of_digits, names) if key is not None)


def _revision(data: bytes) -> str:
    return sha256(data).hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of the directory. The end of a process releases it, and so does the closing of its file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise StoreUnavailable("another process has the keystore's directory locked", operation="put")
            time.sleep(_LOCK_PAUSE)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True
