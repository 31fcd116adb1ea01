"""A directory of files that are whole whenever they are there, for a store or a keystore."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkstemp
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from envelope_codec._process import PerProcess
from envelope_codec.errors import ConfigurationError, StoreRefused, StoreUnavailable

_T = TypeVar("_T")

_log = logging.getLogger("envelope_codec.datastore.files")

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


class Folder:
    """A directory, and the threads that work in it. It must exist. Only the owner can read the files.

    Args:
        url: ``file:///path``.
        setting: that the URL was given in, for the text of the error.
        options: what the setting takes besides, for the text of the error.

    Attributes:
        path: of the directory.

    Raises:
        ConfigurationError: the URL is no such one.
    """

    def __init__(self, url: str, setting: str, options: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "file" or parts.netloc or parts.query or parts.fragment or not parts.path.startswith("/"):
            raise ConfigurationError(f"{setting}: a directory of files is file:///absolute/path, with {options}")
        self.path = Path(unquote(parts.path))
        self._threads = PerProcess(lambda _: ThreadPoolExecutor(_THREADS, thread_name_prefix="envelope-codec-files"))

    def write(self, path: Path, data: bytes) -> None:
        """Have ``data`` at ``path``, durably, in a directory that is made if need be. Runs in a thread."""
        self.check()
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(self.path)
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

    def check(self) -> None:
        """Raise an `OSError` if there is no such directory."""
        if not self.path.is_dir():
            raise FileNotFoundError(errno.ENOENT, "no such directory")

    async def call(self, operation: str, work: Callable[[], _T]) -> _T:
        """Do the same as `run`, and raise our errors in place of the operating system's."""
        try:
            return await self.run(work)
        except OSError as error:
            raise translate(error, operation) from None

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run ``work`` in a thread of the store. A forked child has no threads of an event loop that it inherits."""
        return await asyncio.get_running_loop().run_in_executor(self._threads.get(), work)

    def close(self) -> None:
        """End the threads. Does not wait for calls under way."""
        threads = self._threads.take()
        if threads is not None:
            threads.shutdown(wait=False)


def translate(error: OSError, operation: str) -> StoreRefused | StoreUnavailable:
    """Return the error to raise for ``error``, which came up in ``operation``. The log has its code."""
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
