"""All that a datastore needs: a callable that takes a URL and returns a `PayloadStore`, and an entry point."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from envelope_codec.errors import PayloadMissing
from envelope_codec.store import Stored

_kept: dict[tuple[str, str], tuple[float, bytes]] = {}


class MemoryStore:
    """``teststore://NAME``: gone with the process."""

    def __init__(self, url: str, /) -> None:
        self._name = url

    async def put(self, id: str, data: bytes) -> None:
        _kept[self._name, id] = (time.time(), data)

    async def get(self, id: str) -> bytes:
        if (self._name, id) not in _kept:
            raise PayloadMissing("the datastore has no such payload", operation="get")
        return _kept[self._name, id][1]

    async def delete(self, id: str) -> None:
        _kept.pop((self._name, id), None)

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        for (name, id), (created, data) in list(_kept.items()):
            if name == self._name and created < before:
                yield Stored(id, created, len(data))

    async def check(self) -> None:
        await self.put("check", b"")
        await self.delete("check")

    async def close(self) -> None:
        pass
