"""Payloads in Azure Blob Storage."""

from __future__ import annotations

from collections.abc import AsyncIterator

from envelope_codec.datastore.azblob_client import AzureContainer
from envelope_codec.datastore.azblob_error import Exists
from envelope_codec.errors import PayloadMissing, StoreRefused, StoreUnavailable
from envelope_codec.store import LARGEST, Stored, TooLarge, is_id

_PAGE = 1_000


class AzureBlobStore:
    """A `PayloadStore` in a container: ``azblob://ACCOUNT/CONTAINER/PREFIX?endpoint=…&key_file=…&client_id=…``.

    Tokens are had as by any of Azure's tools, unless an account key is given. The store needs to write blobs and to
    read them; tidying up needs to list and delete them as well. Nothing is ever overwritten.
    """

    def __init__(self, url: str) -> None:
        self._container = AzureContainer(url, "storage")

    async def put(self, id: str, data: bytes) -> None:
        """Keep ``data`` under ``id``."""
        try:
            await self._container.create(id, data)
        except Exists:
            await self._compare(id, data)

    async def get(self, id: str) -> bytes:
        """Return what is kept under ``id``. Raises `PayloadMissing` if nothing is."""
        return await self.get_within(id, LARGEST)

    async def get_within(self, id: str, limit: int) -> bytes:
        """Do as `get`, and raise `TooLarge` if there are more than ``limit`` bytes."""
        return await self._container.read(id, limit)

    async def delete(self, id: str) -> None:
        """Delete what is kept under ``id``, if anything is."""
        await self._container.delete(id)

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        """Yield all payloads that were put before ``before`` (Unix seconds)."""
        token: str | None = None
        while True:
            page, token = await self._container.list_page(token, _PAGE)
            for listed in page:
                if is_id(listed.name) and listed.created < before:
                    yield Stored(listed.name, listed.created, listed.size)
            if not token:
                return

    async def check(self) -> None:
        """Put and get a blob that is no payload. Raises if that is not possible."""
        await self.put("check", b"")
        await self.get("check")

    async def close(self) -> None:
        """Release the connections."""
        self._container.close()

    async def _compare(self, id: str, data: bytes) -> None:
        """Raise unless what is under ``id`` is ``data``: an earlier attempt came through, and its answer was lost."""
        try:
            is_same = await self._container.read(id, len(data)) == data
        except TooLarge:
            is_same = False
        except PayloadMissing:  # deleted meanwhile; or the condition is another one
            raise StoreUnavailable("the storage account did not answer", operation="put") from None
        if not is_same:
            raise StoreRefused("something else is there under the id", operation="put")
