"""A keystore as the keyring's threads use it: its calls run on an event loop in a thread of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as OutOfTime
from contextlib import suppress
from typing import Any, TypeVar

from envelope_codec._frames import frameless, place_of
from envelope_codec._process import PerProcess
from envelope_codec.datastore.background_loop import BackgroundLoop
from envelope_codec.errors import ConfigurationError, StoreUnavailable
from envelope_codec.keystore import Kept, Keystore, KeystoreUrl
from envelope_codec.keystore_batch import Batches
from envelope_codec.observe import logger

T = TypeVar("T")

_MARGIN = 1.0  # seconds: the event loop keeps the time, and this is for a loop that has died
_CLOSE_SECONDS = 5.0
_AT_ONCE = 32  # calls
_SILENT = "the keystore did not answer"

CLOSED = "the keystore has been closed"
"""Reason of the error of a call that comes too late."""


class KeystoreThread:
    """A keystore, for any number of threads, so many calls at a time. A forked child opens its own.

    Args:
        keystore: a URL, whose keystore is opened here and closed with this object; or a keystore, which is used from
            one event loop, and closed by whoever made it.

    Attributes:
        batches: whether the keystore takes several rows in one call, as `Batches` says.

    Raises:
        ConfigurationError: the URL is wrong. No network is asked.
    """

    @frameless
    def __init__(self, keystore: KeystoreUrl | Keystore) -> None:
        self._owned = isinstance(keystore, KeystoreUrl)
        # A URL is opened now only to find out what is wrong with it.
        self.batches = isinstance(keystore.open() if isinstance(keystore, KeystoreUrl) else keystore, Batches)
        self._given = keystore
        # On connections of its parent, a forked child would mix replies up.
        self._opened: PerProcess[_Opened] = PerProcess(lambda _: _Opened(self._open()))
        self._loop = BackgroundLoop()
        self._closed = False
        self._logged = False

    def get(self, key: bytes, timeout: float) -> Kept | None:
        """See `envelope_codec.keys.RowSource.get`."""
        return self._call("get", lambda keystore: keystore.get(key), timeout)

    def put(self, key: bytes, data: bytes, revision: str | None, timeout: float) -> str:
        """See `envelope_codec.keys.RowSource.put`."""
        return self._call("put", lambda keystore: keystore.put(key, data, revision), timeout)

    def close(self) -> None:
        """Close the keystore, if it was opened here, and end the thread. Does not wait. May be called twice."""
        self.end()

    def end(self) -> Future[None] | None:
        """Do as `close` does. Return what is done once the connections are released; None if there are none."""
        self._closed = True
        opened = self._opened.take()
        if opened is None or not self._owned:
            self._loop.close()
            return None
        with suppress(ConnectionError):  # it has been closed
            closing = self._loop.submit(_close(opened.keystore))
            closing.add_done_callback(lambda _: self._loop.close())
            return closing
        return None

    def submit(self, operation: str, call: Callable[[Keystore], Coroutine[Any, Any, T]], timeout: float) -> Future[T]:
        """Make one call on the event loop. Return what will be its outcome, which nobody can cancel.

        Args:
            operation: for errors.
            call: makes the call.
            timeout: seconds, the waiting for its turn included. Then the outcome is `StoreUnavailable`.

        Raises:
            ConnectionError: this object has been closed. It is the outcome of calls that were under way then.
        """
        return self._loop.submit(self._timed(operation, call, timeout))

    def _open(self) -> Keystore:
        return self._given.open() if isinstance(self._given, KeystoreUrl) else self._given

    def _call(self, operation: str, call: Callable[[Keystore], Coroutine[Any, Any, T]], timeout: float) -> T:
        """Make one call on the event loop, and wait for it.

        Raises:
            StoreUnavailable: no answer came in time; or this object has been closed.
            StoreRefused: as the keystore raised it.
        """
        try:
            return self.submit(operation, call, timeout).result(timeout + _MARGIN)
        except ConnectionError:
            reason = CLOSED
        except OutOfTime:
            reason = _SILENT
        raise StoreUnavailable(reason, operation=operation)

    async def _timed(self, operation: str, call: Callable[[Keystore], Coroutine[Any, Any, T]], timeout: float) -> T:
        """Make one call. One that takes too long is cancelled and not waited for: its good end may take seconds."""
        task = asyncio.get_running_loop().create_task(_in_turn(self._here(operation), call))
        try:
            await asyncio.wait([task], timeout=timeout)
            if task.done():
                return task.result()
        finally:
            task.cancel()
            task.add_done_callback(_see)
        raise StoreUnavailable(_SILENT, operation=operation)

    def _here(self, operation: str) -> _Opened:
        """Return the keystore of this process, which is opened on its event loop."""
        if self._closed:
            raise StoreUnavailable(CLOSED, operation=operation)
        try:
            return self._opened.get()
        except Exception as error:
            cause = error.reason if isinstance(error, ConfigurationError) else place_of(error)
        if not self._logged:
            self._logged = True
            logger.error("the keystore can't be opened any more, and could be before: %s", cause)
        raise StoreUnavailable("the keystore can't be opened any more", operation=operation)


class _Opened:
    """The keystore that one process has open."""

    def __init__(self, keystore: Keystore) -> None:
        self.keystore = keystore
        self.turns = asyncio.Semaphore(_AT_ONCE)


async def _in_turn(opened: _Opened, call: Callable[[Keystore], Coroutine[Any, Any, T]]) -> T:
    async with opened.turns:
        return await call(opened.keystore)


def _see(task: asyncio.Task[Any]) -> None:
    """Look at the error of ``task``: asyncio logs errors that nobody looked at."""
    if not task.cancelled():
        task.exception()


async def _close(keystore: Keystore) -> None:
    try:
        await asyncio.wait_for(keystore.close(), _CLOSE_SECONDS)
    except Exception as error:  # the server is gone, for instance, or does not answer
        logger.debug("a keystore did not close in good order: %s", place_of(error))
