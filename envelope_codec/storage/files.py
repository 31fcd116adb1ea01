"""Payloads as files in a directory: for development and tests, or on a file system that all workers share."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from envelope_codec.datastore.folder import Folder, translate
from envelope_codec.errors import PayloadMissing
from envelope_codec.store import LARGEST, Stored, check_size, is_id, too_large


class FileStore:
    """A `PayloadStore` in a directory: ``file:///path``. It must exist. Only the owner can read the files."""

    def __init__(self, url: str) -> None:
        self._directory = Folder(url, "storage", "no option but name")
        self._folder = self._directory.path
        self._call = self._directory.call

    async def put(self, id: str, data: bytes) -> None:
        """Keep ``data`` under ``id``."""
        kept = [data]
        del data  # or the thread holds a large one for a moment longer than this call lasts
        await self._call("put", lambda: self._directory.write(self._path(id), kept.pop()))

    async def get(self, id: str) -> bytes:
        """Return what is kept under ``id``. Raises `PayloadMissing` if nothing is."""
        return await self.get_within(id, LARGEST)

    async def get_within(self, id: str, limit: int) -> bytes:
        """Do as `get`, and raise `TooLarge` if there are more than ``limit`` bytes."""
        try:
            return await self._directory.run(partial(_read, self._path(id), limit))
        except FileNotFoundError:
            await self._call("get", self._directory.check)
            raise PayloadMissing("the datastore has no such payload", operation="get") from None
        except OSError as error:
            raise translate(error, "get") from None

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
        self._directory.close()

    def _path(self, id: str) -> Path:
        if not is_id(id):
            raise PayloadMissing("the datastore has no such payload", operation="get")
        return self._folder / id[:2] / id

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


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise too_large()
        return check_size(file.read(size + 1), limit)
