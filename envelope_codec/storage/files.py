"""Payloads as files in a directory: for development and tests, or on a file system that all workers share."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import mkstemp
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from envelope_codec._process import PerProcess
from envelope_codec.errors import ConfigurationError, PayloadMissing, StoreRefused, StoreUnavailable
from envelope_codec.store import Stored, is_id

_T = TypeVar("_T")

_log = logging.getLogger("envelope_codec.storage.files")

_THREADS = 32
_MISSING = "the directory does not exist, or is none"
_PERMISSION = "permission on the directory, or on a file in it, is missing"
_FULL = "the file system is full, or the quota is used up"
_REFUSALS = {
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG), _MISSING),
    **dict.fromkeys((errno.EACCES, errno.EPERM), _PERMISSION),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _FULL),
    errno.EROFS: "the file system is read-only",
    errno.EFBIG: "the file system does not take files as large",
}


class FileStore:
    """A `PayloadStore` in a directory: ``file:///path``. It must exist. Only the owner can read the files."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        path = Path(unquote(parts.path))
        if parts.scheme != "file" or parts.netloc or parts.query or parts.fragment or not parts.path.startswith("/"):
            raise ConfigurationError("storage: a directory of files is file:///absolute/path, with no option but name")
        self._folder = path
        self._threads = PerProcess(lambda _: ThreadPoolExecutor(_THREADS, thread_name_prefix="envelope-codec-files"))

    async def put(self, id: str, data: bytes) -> None:
        """Keep ``data`` under ``id``."""
        kept = [data]
        del data  # or the thread holds a large one for a moment longer than this call lasts
        await self._call("put", lambda: self._write(self._path(id), kept.pop()))

    async def get(self, id: str) -> bytes:
        """Return what is kept under ``id``. Raises `PayloadMissing` if nothing is."""
        try:
            return await self._run(self._path(id).read_bytes)
        except FileNotFoundError:
            await self._call("get", self._check_folder)
            raise PayloadMissing("the datastore has no such payload", operation="get") from None
        except OSError as error:
            raise _translate(error, "get") from None

    async def delete(self, id: str) -> None:
        """Delete what is kept under ``id``, if anything is."""
        await self._call("delete", lambda: self._path(id).unlink(missing_ok=True))

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        """Yield all payloads that were put before ``before`` (Unix seconds)."""
        for folder in await self._call("list", lambda: sorted(self._folder.iterdir())):
            for stored in await self._call("list", partial(self._list_folder, folder, before)):
                yield stored

    async def check(self) -> None:
        """Put and delete an empty file. Raises if that is not possible."""
        id = os.urandom(16).hex()
        await self.put(id, b"")
        await self.delete(id)

    async def close(self) -> None:
        """End the threads. Does not wait for calls under way."""
        threads = self._threads.take()
        if threads is not None:
            threads.shutdown(wait=False)

    def _path(self, id: str) -> Path:
        if not is_id(id):
            raise PayloadMissing("the datastore has no such payload", operation="get")
        return self._folder / id[:2] / id

    def _write(self, path: Path, data: bytes) -> None:
        self._check_folder()
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(self._folder)
        descriptor, name = mkstemp(dir=path.parent, prefix=".")
        fresh = Path(name)
        try:
            with open(descriptor, "wb") as stream:  # noqa: PTH123 - pathlib opens no descriptors
                stream.write(data)
                stream.flush()
                os.fsync(descriptor)
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)

    def _check_folder(self) -> None:
        if not self._folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, "no such directory")

    def _list_folder(self, folder: Path, before: float) -> list[Stored]:
        found = []
        for path in folder.iterdir() if folder.is_dir() else ():
            if is_id(path.name):
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue  # deleted meanwhile
                if status.st_mtime < before:
                    found.append(Stored(path.name, status.st_mtime, status.st_size))
        return found

    async def _call(self, operation: str, work: Callable[[], _T]) -> _T:
        try:
            return await self._run(work)
        except OSError as error:
            raise _translate(error, operation) from None

    async def _run(self, work: Callable[[], _T]) -> _T:
        """Run ``work`` in a thread of the store. A forked child has no threads of an event loop that it inherits."""
        return await asyncio.get_running_loop().run_in_executor(self._threads.get(), work)


def _translate(error: OSError, operation: str) -> StoreRefused | StoreUnavailable:
    code = errno.errorcode.get(error.errno or 0, "")
    _log.debug("a file %s failed: %s %s", operation, type(error).__name__, code)
    reason = _REFUSALS.get(error.errno or 0)
    if reason is not None:
        return StoreRefused(reason, operation=operation)
    return StoreUnavailable("the file system did not do as it was asked", operation=operation)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
