"""A configured keystore, for callers in any thread, event loop and forked child."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from envelope_codec._frames import frameless
from envelope_codec._loops import kept_awake, running_loop
from envelope_codec._process import PerProcess
from envelope_codec.datastore.background_loop import BackgroundLoop
from envelope_codec.errors import ConfigurationError, EnvelopeError, StoreUnavailable
from envelope_codec.keystore import Kept, Keystore, KeystoreUrl
from envelope_codec.observe import logger

_T = TypeVar("_T")

_SECONDS = 10.0
_AT_ONCE = 32
_CLOSE_SECONDS = 5.0


class KeystoreClient:
    """A keystore that is opened once in each process, and runs in an event loop of its own there.

    It calls without retrying. A caller that is cancelled waits no longer, and the call goes on until it ends or its
    time is over.

    Args:
        keystore: its URL; or a keystore that the application made, which must then fit one event loop in any thread.
        seconds: for one call, the waiting for its turn included.

    Raises:
        ConfigurationError: the URL is wrong. No network is asked.
    """

    @frameless
    def __init__(self, keystore: KeystoreUrl | Keystore, *, seconds: float = _SECONDS) -> None:
        made = keystore.open() if isinstance(keystore, KeystoreUrl) else keystore  # finds out what is wrong now
        self._seconds = seconds
        self._loop = BackgroundLoop()
        self._logged = False
        # A forked child opens its own: on connections of its parent, replies would get mixed up.
        self._open = PerProcess(
            lambda inherited: _Open(keystore.open() if inherited and isinstance(keystore, KeystoreUrl) else made)
        )
        self._open.get()

    async def get(self, key: bytes) -> Kept | None:
        """Do as `Keystore.get` does. Raises `StoreUnavailable` as well if no answer comes in time."""
        return await self._call("get", lambda keystore: keystore.get(key))

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
        """Do as `Keystore.put` does. Raises `StoreUnavailable` as well if no answer comes in time."""
        return await self._call("put", lambda keystore: keystore.put(key, data, revision))

    async def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
        """Do as `Keystore.rows` does. Raises `StoreUnavailable` as well if a row does not come in time."""
        listing = self._opened("list").keystore.rows(after)
        while True:
            kept = await self._call("list", lambda _: _next(listing))
            if kept is None:
                return
            yield kept

    async def check(self) -> None:
        """Do as `Keystore.check` does. Raises `StoreUnavailable` as well if no answer comes in time."""
        await self._call("check", lambda keystore: keystore.check())

    async def aclose(self) -> None:
        """Release the connections, and end the event loop. May be called twice."""
        opened = self._open.take()
        if opened is not None:
            with suppress(EnvelopeError, ConnectionError, asyncio.TimeoutError):
                await self._loop.run(_close(opened))
        self._loop.close()

    async def _call(self, operation: str, call: Callable[[Keystore], Coroutine[Any, Any, _T]]) -> _T:
        running_loop()  # is made fit for forked children
        opened = self._opened(operation)
        try:
            with kept_awake():
                return await self._loop.run(_in_time(opened, call, self._seconds))
        except (ConnectionError, asyncio.TimeoutError):  # closed meanwhile, or late
            raise StoreUnavailable("the keystore did not answer", operation=operation) from None

    def _opened(self, operation: str) -> _Open:
        try:
            return self._open.get()
        except ConfigurationError as error:  # a forked child can't open what its parent could
            cause = error.reason
        if not self._logged:
            self._logged = True
            logger.error("the keystore can't be opened any more, and could be before: %s", cause)
        raise StoreUnavailable("the keystore can't be opened any more", operation=operation)


class _Open:
    """The keystore that one process has open."""

    def __init__(self, keystore: Keystore) -> None:
        self.keystore = keystore
        self.slots = asyncio.Semaphore(_AT_ONCE)


async def _in_time(opened: _Open, call: Callable[[Keystore], Coroutine[Any, Any, _T]], seconds: float) -> _T:
    async def do() -> _T:
        async with opened.slots:
            return await call(opened.keystore)

    return await asyncio.wait_for(do(), seconds)


async def _close(opened: _Open) -> None:
    await asyncio.wait_for(opened.keystore.close(), _CLOSE_SECONDS)


async def _next(listing: AsyncIterator[Kept]) -> Kept | None:
    return await anext(listing, None)
