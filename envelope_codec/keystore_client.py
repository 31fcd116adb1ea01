"""A configured keystore, for callers in any event loop and forked child."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, cast

from envelope_codec._frames import frameless
from envelope_codec._loops import kept_awake, running_loop
from envelope_codec.errors import StoreUnavailable
from envelope_codec.keystore import Kept, Keystore, KeystoreUrl
from envelope_codec.keystore_batch import Batches
from envelope_codec.keystore_role import Operation, attempt
from envelope_codec.keystore_sharing import is_slot
from envelope_codec.keystore_thread import CLOSED, KeystoreThread

_T = TypeVar("_T")

_SECONDS = 10.0
_PAGE = 200  # rows that are fetched in one call; to hand them over one by one costs more than to fetch them


class KeystoreClient:
    """A `KeystoreThread` whose calls are awaited.

    It calls without retrying. A caller that is cancelled waits no longer, and the call goes on until it ends or its
    time is over.

    Args:
        keystore: its URL; or a keystore that the application made, which must then fit one event loop in any thread,
            and which the application closes.
        seconds: for one call, the waiting for its turn included.

    Raises:
        ConfigurationError: the URL is wrong. No network is asked.
    """

    @frameless
    def __init__(self, keystore: KeystoreUrl | Keystore, *, seconds: float = _SECONDS) -> None:
        self._thread = KeystoreThread(keystore)
        self._seconds = seconds

    async def get(self, key: bytes) -> Kept | None:
        """Do as `Keystore.get` does. Raises `StoreUnavailable` as well if no answer comes in time."""
        return await self._call("get", lambda keystore: keystore.get(key))

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
        """Do as `Keystore.put` does. Raises `StoreUnavailable` as well if no answer comes in time."""
        return await self._call("put", lambda keystore: keystore.put(key, data, revision))

    async def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
        """Do as `Keystore.rows` does, and leave active slots out, which are no rows and are made again.

        Raises:
            StoreUnavailable: a row does not come in time.
            EnvelopeError: as `Keystore.rows`.
        """
        listing: list[AsyncIterator[Kept]] = []

        async def go_on(keystore: Keystore, page: list[Kept | None]) -> None:
            if not listing:
                listing.append(keystore.rows(after))
            await _fill(page, listing[0], self._seconds / 2)

        while True:
            page: list[Kept | None] = []
            failure: StoreUnavailable | None = None
            try:
                await self._call("list", partial(go_on, page=page))
            except StoreUnavailable as error:
                failure = error
            for kept in page:
                if kept is None:
                    return
                if not is_slot(kept.data):
                    yield kept
            if failure is not None:
                raise failure

    @property
    def batches(self) -> bool:
        """Whether `get_each` and `replace_each` can be called."""
        return self._thread.batches

    async def get_each(self, keys: Sequence[bytes]) -> list[Kept | None]:
        """Do as `Batches.get_each` does. Raises `StoreUnavailable` as well if no answer comes in time."""
        return await self._call("get", lambda keystore: cast(Batches, keystore).get_each(keys))

    async def replace_each(self, changes: Sequence[Kept]) -> list[str | None]:
        """Do as `Batches.replace_each` does. Raises `StoreUnavailable` as well if no answer comes in time."""
        return await self._call("put", lambda keystore: cast(Batches, keystore).replace_each(changes))

    async def check(self) -> None:
        """Do as `Keystore.check` does. Raises `StoreUnavailable` as well if no answer comes in time."""
        await self._call("check", lambda keystore: keystore.check())

    async def attempt(self, operation: Operation) -> None:
        """Do as `keystore_role.attempt` does. Raises `StoreUnavailable` as well if no answer comes in time."""
        await self._call(operation.value, lambda keystore: attempt(keystore, operation))

    async def aclose(self) -> None:
        """Release the connections, and end the event loop. May be called twice."""
        closing = self._thread.end()
        if closing is not None:
            with suppress(ConnectionError):  # it has been closed meanwhile
                await asyncio.wrap_future(closing)

    async def _call(self, operation: str, call: Callable[[Keystore], Coroutine[Any, Any, _T]]) -> _T:
        running_loop()  # is made fit for forked children
        try:
            with kept_awake():
                return await asyncio.wrap_future(self._thread.submit(operation, call, self._seconds))
        except ConnectionError:
            raise StoreUnavailable(CLOSED, operation=operation) from None


async def _fill(page: list[Kept | None], listing: AsyncIterator[Kept], seconds: float) -> None:
    """Add the next rows to ``page``: as many as come in so many seconds, but at least one. At the end comes a None."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while len(page) < _PAGE and (not page or loop.time() < end):
        kept = await anext(listing, None)
        page.append(kept)
        if kept is None:
            return
