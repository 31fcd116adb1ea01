"""`AcmeKeystore`: a keystore in memory, gone with the process."""

from __future__ import annotations

import secrets
import threading
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from envelope_codec.errors import StoreRefused
from envelope_codec.keystore import Kept, RowConflict, try_out

_KEY_LENGTH = 32
_places: dict[str, dict[bytes, tuple[bytes, str]]] = {}
_lock = threading.Lock()


class AcmeKeystore:
    """``acmekeystore://NAME``. A name that begins with ``no-`` names no place, and every call of it is refused."""

    def __init__(self, url: str, /) -> None:
        self._name = urlsplit(url).netloc

    async def get(self, key: bytes) -> Kept | None:
        """See `Keystore.get`."""
        found = self._place("get").get(key)
        return None if found is None else Kept(key, *found)

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
        """See `Keystore.put`. Nobody else comes between the comparison and the change."""
        place, fresh = self._place("put"), secrets.token_hex(16)
        with _lock:
            there = place.get(key)
            if (None if there is None else there[1]) != revision:
                raise RowConflict("the row is of another revision", operation="put")
            place[key] = data, fresh
        return fresh

    async def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
        """See `Keystore.rows`. What has another length than a key is no row."""
        place = self._place("list")
        with _lock:
            found = sorted(place.items())
        for key, kept in found:
            if key > after and len(key) == _KEY_LENGTH:
                yield Kept(key, *kept)

    async def check(self) -> None:
        """See `Keystore.check`."""
        await try_out(self)

    async def close(self) -> None:
        """Nothing is open."""

    def _place(self, operation: str) -> dict[bytes, tuple[bytes, str]]:
        if self._name.startswith("no-"):
            raise StoreRefused("the datastore has no such place", operation=operation)
        with _lock:
            return _places.setdefault(self._name, {})
