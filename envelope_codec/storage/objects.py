"""Payloads as objects of a bucket that overwrites nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

from envelope_codec.datastore.bucket import Bucket, Exists
from envelope_codec.errors import PayloadMissing, StoreRefused, StoreUnavailable
from envelope_codec.store import LARGEST, Stored, TooLarge, is_id

_PAGE = 1_000


class ObjectStore:
    """What `PayloadStore`s in Google Cloud Storage and Azure Blob Storage have in common.

    Args:
        bucket: where payloads are kept.
        silent: says that the bucket did not answer.
    """

    def __init__(self, bucket: Bucket, silent: str) -> None:
        self._bucket = bucket
        self._silent = silent

    async def put(self, id: str, data: bytes) -> None:
        """Keep ``data`` under ``id``."""
        try:
            await self._bucket.create(id, data)
        except Exists:
            await self._compare(id, data)

    async def get(self, id: str) -> bytes:
        """Return what is kept under ``id``. Raises `PayloadMissing` if nothing is."""
        return await self.get_within(id, LARGEST)

    async def get_within(self, id: str, limit: int) -> bytes:
        """Do as `get`, and raise `TooLarge` if there are more than ``limit`` bytes."""
        return await self._bucket.read(id, limit)

    async def delete(self, id: str) -> None:
        """Delete what is kept under ``id``, if anything is."""
        await self._bucket.delete(id)

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        """Yield all payloads that were put before ``before`` (Unix seconds)."""
        token: str | None = None
        while True:
            page, token = await self._bucket.list_page(token, _PAGE)
            for listed in page:
                if is_id(listed.name) and listed.created < before:
                    yield Stored(listed.name, listed.created, listed.size)
            if not token:
                return

    async def check(self) -> None:
        """Put and get an object that is no payload. Raises if that is not possible."""
        await self.put("check", b"")
        await self.get("check")

    async def close(self) -> None:
        """Release the connections."""
        self._bucket.close()

    async def _compare(self, id: str, data: bytes) -> None:
        """Raise unless what is under ``id`` is ``data``: an earlier attempt came through, and its answer was lost."""
        try:
            is_same = await self._bucket.read(id, len(data)) == data
        except TooLarge:
            is_same = False
        except PayloadMissing:  # deleted meanwhile; or the condition is another one
            raise StoreUnavailable(self._silent, operation="put") from None
        if not is_same:
            raise StoreRefused("something else is there under the id", operation="put")
