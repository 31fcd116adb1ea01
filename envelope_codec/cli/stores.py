"""The datastores that a configuration names, for commands that ask them without the SDK."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError, EnvelopeError, PayloadMissing, StoreRefused, StoreUnavailable
from envelope_codec.store import PayloadStore, Stored, StoreUrl, parse_store_url

_T = TypeVar("_T")

_SECONDS = 120.0  # for one call: of 20 MB, over a slow line
_TO_CLOSE = 5.0


def stores_by_setting(config: EnvelopeConfig) -> dict[str, StoreUrl]:
    """``storage``, if it is set, then ``former_storage[0]`` and so on."""
    urls = {"storage": config.storage} if config.storage is not None else {}
    urls |= {f"former_storage[{index}]": url for index, url in enumerate(config.former_storage)}
    return {setting: parse_store_url(url) for setting, url in urls.items()}


def configured_stores(config: EnvelopeConfig) -> list[StoreUrl]:
    """``storage``, if it is set, and ``former_storage``."""
    return list(stores_by_setting(config).values())


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
async def open_store(url: StoreUrl) -> AsyncIterator[PayloadStore]:
    """The store, each of whose calls ends in time; closed afterwards."""
    store = url.open()
    try:
        yield _Timed(store)
    finally:
        with suppress(Exception):  # the server is gone, for instance, or does not answer
            await asyncio.wait_for(store.close(), _TO_CLOSE)
        await _threads_of_sqlite_ended()


async def check_store(store: PayloadStore, *, writes: bool) -> None:
    """Raise if the store can't be used. See `PayloadStore.check`; where nothing is to be stored, it is only read.

    What is read is not there: a store that says so has been reached, and permits to read.
    """
    if writes:
        await store.check()
        return
    with suppress(PayloadMissing):
        await store.get(os.urandom(16).hex())


def proves_nothing(error: EnvelopeError, *, writes: bool) -> bool:
    """Whether reading may be permitted in spite of this error of `check_store`.

    S3 tells nobody that an object is missing who may not list the bucket, and to read needs no such permission.
    """
    return not writes and isinstance(error, StoreRefused) and "S3 says so of a missing object, too" in error.reason


async def _threads_of_sqlite_ended() -> None:
    """Wait a moment for threads of aiosqlite.

    It does not, where a connection could not be made, and such a thread prints a traceback if the event loop that
    it tells of its end is closed by then.
    """
    for _ in range(100):
        if not any(thread.name.endswith("(_connection_worker_thread)") for thread in threading.enumerate()):
            return
        await asyncio.sleep(0.01)


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
