"""The datastores that a configuration names, for commands that use them without the SDK."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from envelope_codec.config import EnvelopeConfig
from envelope_codec.datastore.reasons import MAYBE_MISSING
from envelope_codec.errors import ConfigurationError, EnvelopeError, PayloadMissing, StoreUnavailable
from envelope_codec.store import PayloadStore, Stored, StoreUrl, get_within, parse_store_url

_T = TypeVar("_T")

_SECONDS = 120.0  # for one call, which may carry 20 MB over a slow line
_TO_CLOSE = 5.0


def stores_by_setting(config: EnvelopeConfig) -> dict[str, StoreUrl]:
    """List the stores by setting: ``storage``, if it is set, then ``former_storage[0]`` and so on."""
    urls = {"storage": config.storage} if config.storage is not None else {}
    urls |= {f"former_storage[{index}]": url for index, url in enumerate(config.former_storage)}
    return {setting: parse_store_url(url) for setting, url in urls.items()}


def list_stores(config: EnvelopeConfig) -> list[StoreUrl]:
    """List the stores: ``storage``, if it is set, and ``former_storage``."""
    return list(stores_by_setting(config).values())


def choose_store(config: EnvelopeConfig, name: str | None) -> StoreUrl:
    """Choose the store of that name. Without a name, ``storage``."""
    stores = list_stores(config)
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
    """Open the store, limit the time of each of its calls, and close it afterwards."""
    store = url.open()
    try:
        yield _Timed(store)
    finally:
        with suppress(Exception):  # the server may be gone, or give no answer
            await asyncio.wait_for(store.close(), _TO_CLOSE)
        await wait_for_sqlite_threads()


async def check_store(store: PayloadStore, *, writes: bool) -> None:
    """Raise if the store can't be used, as `PayloadStore.check` does. Unless it ``writes``, the store is only read.

    It is asked for a payload that is not there. A store that says so was reached, and permits reading.

    Raises:
        EnvelopeError: it can't be used.
    """
    if writes:
        await store.check()
        return
    with suppress(PayloadMissing):
        await get_within(store, os.urandom(16).hex(), 0)


def proves_nothing(error: EnvelopeError, *, writes: bool) -> bool:
    """Whether reading may be permitted in spite of this error of `check_store`.

    S3 says that an object is missing only to those who may list the bucket. Reading does not need that permission.
    """
    return not writes and error.code == MAYBE_MISSING


async def wait_for_sqlite_threads() -> None:
    """Wait a moment for threads of aiosqlite.

    aiosqlite does not wait for its thread where a connection could not be made. Such a thread tells the event loop that
    it ends, and prints a traceback if the loop is closed by then.
    """
    for _ in range(100):
        if not any(thread.name.endswith("(_connection_worker_thread)") for thread in threading.enumerate()):
            return
        await asyncio.sleep(0.01)


class _Timed:
    """A store whose calls end after `_SECONDS`."""

    def __init__(self, store: PayloadStore) -> None:
        self._store = store

    async def put(self, id: str, data: bytes) -> None:
        await _in_time(self._store.put(id, data))

    async def get(self, id: str) -> bytes:
        return await _in_time(self._store.get(id))

    async def get_within(self, id: str, limit: int) -> bytes:
        return await _in_time(get_within(self._store, id, limit))

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
