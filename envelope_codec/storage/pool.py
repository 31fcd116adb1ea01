"""A configured store, opened once in each event loop that uses it."""

from __future__ import annotations

import asyncio
import threading
import weakref
from contextlib import suppress

from envelope_codec._frames import frameless, place_of
from envelope_codec._loops import running_loop
from envelope_codec._process import PerProcess, renew_after_fork
from envelope_codec.errors import ConfigurationError, StoreUnavailable
from envelope_codec.observe import logger
from envelope_codec.storage.loop_store import LoopStore
from envelope_codec.store import PayloadStore, StoreUrl

_CLOSE_DELAY = 0.1  # seconds; see `LoopStore.begin_closing`


class Pool:
    """One configured store, opened once in each event loop that uses it.

    Args:
        url: of the store.

    Raises:
        ConfigurationError: the URL is wrong. No network is asked.
    """

    @frameless
    def __init__(self, url: StoreUrl) -> None:
        store = url.open()  # only to find out now what is wrong with the URL
        self.name = url.name
        self.reads_plain = hasattr(store, "get_plain")
        self._url = url
        # A forked child opens its own: on connections of its parent, replies would get mixed up.
        self._stores = PerProcess(lambda _: _LoopStores())

    def open_here(self) -> LoopStore:
        """Return the store of the running event loop. It is closed with the pool, or when that loop ends.

        Raises:
            StoreUnavailable: it could be opened before and can't be now, since something such as a profile is gone.
        """
        return self._stores.get().open_here(self._url)

    async def aclose(self) -> None:
        """Release the connections that belong to the running event loop."""
        stores = self._stores.made
        store = stores.take() if stores is not None else None
        if store is not None:
            await store.begin_closing()

    def close(self) -> None:
        """Release all connections, in those of their event loops that still run."""
        stores = self._stores.made
        if stores is not None:
            stores.close()


class _LoopStores:
    """The stores that one process has open, by event loop."""

    _lock: threading.Lock

    def __init__(self) -> None:
        renew_after_fork(self, _lock=threading.Lock)
        self._stores: dict[asyncio.AbstractEventLoop, LoopStore] = {}
        self._logged = set[str]()
        weakref.finalize(self, _close_all, self._stores).atexit = False

    def open_here(self, url: StoreUrl) -> LoopStore:
        """Return the store of the running event loop, opened if need be."""
        loop = running_loop()
        with self._lock:
            store = self._stores.get(loop)
            if store is None:
                for ended in [other for other in self._stores if other.is_closed()]:
                    del self._stores[ended]
                store = self._stores[loop] = LoopStore(self._open(url))
        return store

    def take(self) -> LoopStore | None:
        """Return the store of the running event loop if it is open, and forget it."""
        with self._lock:
            return self._stores.pop(asyncio.get_running_loop(), None)

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            _close_all(self._stores)

    def _open(self, url: StoreUrl) -> PayloadStore:
        try:
            return url.open()
        except Exception as error:
            cause = error.reason if isinstance(error, ConfigurationError) else place_of(error)
        if cause not in self._logged:
            self._logged.add(cause)
            logger.error("the datastore %s can't be opened any more, and could be before: %s", url.name, cause)
        raise StoreUnavailable("the datastore can't be opened any more")


def _close_all(stores: dict[asyncio.AbstractEventLoop, LoopStore]) -> None:
    for loop, store in stores.items():
        if loop.is_running():
            with suppress(RuntimeError):  # it has just been closed
                loop.call_soon_threadsafe(store.begin_closing, _CLOSE_DELAY)
    stores.clear()
