"""`AcmeStore`: a datastore in memory, gone with the process."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from envelope_codec.errors import PayloadMissing, StoreRefused
from envelope_codec.store import Stored, is_id

_places: dict[str, dict[str, tuple[float, bytes]]] = {}


class AcmeStore:
    """``acmestore://NAME``. A name that begins with ``no-`` names no place, and every call of it is refused."""

    def __init__(self, url: str, /) -> None:
        self._name = urlsplit(url).netloc

    async def put(self, id: str, data: bytes) -> None:
        """See `PayloadStore.put`."""
        self._place("put")[id] = (time.time(), data)

    async def get(self, id: str) -> bytes:
        """See `PayloadStore.get`."""
        place = self._place("get")
        if id not in place:
            raise PayloadMissing("the datastore has no such payload", operation="get")
        return place[id][1]

    async def delete(self, id: str) -> None:
        """See `PayloadStore.delete`."""
        self._place("delete").pop(id, None)

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        """See `PayloadStore.list_before`."""
        for id, (created, data) in list(self._place("list").items()):
            if is_id(id) and created < before:
                yield Stored(id, created, len(data))

    async def check(self) -> None:
        """See `PayloadStore.check`."""
        self._place("check")

    async def close(self) -> None:
        """Nothing is open."""

    def _place(self, operation: str) -> dict[str, tuple[float, bytes]]:
        if self._name.startswith("no-"):
            raise StoreRefused("the datastore has no such place", operation=operation)
        return _places.setdefault(self._name, {})
