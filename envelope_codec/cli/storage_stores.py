"""The datastores that a configuration names, for commands that ask them without the SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError, StoreUnavailable
from envelope_codec.storage.store import PayloadStore, Stored, StoreUrl, parse_store_url

_T = TypeVar("_T")

_SECONDS = 120.0  # for one call: of 20 MB, over a slow line


def configured_stores(config: EnvelopeConfig) -> list[StoreUrl]:
    """``storage``, if it is set, and ``former_storage``."""
    urls = [config.storage] if config.storage is not None else []
    return [parse_store_url(url) for url in (*urls, *config.former_storage)]


def chosen_store(config: EnvelopeConfig, name: str | None) -> StoreUrl:
    """The store of that name; without a name, ``storage``."""
    stores = configured_stores(config)
    if name is None:
        if config.storage is None:
            raise ConfigurationError("storage: not set; name one of former_storage with --store, or set it")
        return stores[0]
    for store in stores:
        if store.name == name:
            return store
    names = ", ".join(store.name for store in stores) or "none"
    raise ConfigurationError(f"no store is called {name!r} (configured: {names})")


@asynccontextmanager
async def opened(url: StoreUrl) -> AsyncIterator[PayloadStore]:
    """The store, each of whose calls ends in time; closed afterwards."""
    store = url.open()
    try:
        yield _Timed(store)
    finally:
        await store.close()


class _Timed:
    """A store that gives up what takes too long."""

    def __init__(self, store: PayloadStore) -> None:
        self._store = store

    async def put(self, id: str, data: bytes) -> None:
        await _in_time(self._store.put(id, data))

    async def get(self, id: str) -> bytes:
        return await _in_time(self._store.get(id))

    async def delete(self, id: str) -> None:
        await _in_time(self._store.delete(id))

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        listing = self._store.list_before(before)
        while True:
            try:
                yield await _in_time(listing.__anext__())
            except StopAsyncIteration:
                return

    async def check(self) -> None:
        await _in_time(self._store.check())

    async def close(self) -> None:
        await self._store.close()


async def _in_time(call: Awaitable[_T]) -> _T:
    try:
        return await asyncio.wait_for(call, _SECONDS)
    except asyncio.TimeoutError:
        raise StoreUnavailable("the datastore did not answer") from None
