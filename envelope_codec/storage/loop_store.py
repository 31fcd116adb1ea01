"""The store that one event loop has opened, and the calls that it has under way there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from envelope_codec._frames import place_of
from envelope_codec._loops import kept_awake, ours
from envelope_codec.errors import StoreUnavailable
from envelope_codec.observe import logger
from envelope_codec.storage.retry import Retry
from envelope_codec.store import PayloadStore

_T = TypeVar("_T")

_MOST_CALLS = 32  # that one event loop has under way at a store
_CLOSE_SECONDS = 5.0


class LoopStore:
    """A store of the running event loop. It is closed at the latest when that loop ends.

    Args:
        store: opened for this loop, and used by no other.
    """

    def __init__(self, store: PayloadStore) -> None:
        self.store = store
        self._slots = asyncio.Semaphore(_MOST_CALLS)
        self._under_way: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Task[None] | None = None
        # An event loop that ends closes its asynchronous generators, and waits for them. Nothing else is sure to run.
        self._process = os.getpid()
        self._guard = self._close_with_the_loop()
        with suppress(StopIteration):
            self._guard.asend(None).send(None)

    def begin_closing(self, delay: float = 0.0) -> asyncio.Task[None]:
        """Close the store in ``delay`` seconds. A second call changes nothing.

        An event loop that ends cancels its tasks. Most loops end right after everything was closed. The delay lets
        such a loop find this task still waiting, and not half done; the loop's end then closes the store in good order.
        """
        if self._closing is None or self._closing.cancelled():
            self._closing = asyncio.get_running_loop().create_task(self._close(delay))
        return self._closing

    async def call(
        self, call: Callable[[PayloadStore], Coroutine[Any, Any, _T]], operation: str, seconds: float, retry: Retry
    ) -> _T:
        """Make one call of the store, once one of the loop's slots is free.

        A call that is given up is cancelled and not waited for: client libraries take seconds to end it in good order.

        Args:
            call: makes the call.
            operation: its name, for the error.
            seconds: for an answer.
            retry: bounds the waiting for a slot.

        Raises:
            StoreUnavailable: no answer came in time, or no slot was free before the deadline.
        """
        if not await self._take_slot(retry):
            raise StoreUnavailable("the datastore did not answer", operation=operation)
        token = ours.set(True)
        try:
            task = asyncio.get_running_loop().create_task(call(self.store))
        finally:
            ours.reset(token)
        self._under_way.add(task)
        task.add_done_callback(self._free_slot)
        try:
            with kept_awake():
                await asyncio.wait([task], timeout=seconds)
            if task.done() and not task.cancelled():  # it is cancelled if the store is closed meanwhile
                return task.result()
            raise StoreUnavailable("the datastore did not answer", operation=operation)
        finally:
            task.cancel()

    async def _take_slot(self, retry: Retry) -> bool:
        """Wait for a slot. Return False if none is free before the deadline."""
        if not self._slots.locked():
            return await self._slots.acquire()
        waiting = asyncio.get_running_loop().create_task(self._slots.acquire())
        try:
            await retry.wait_for(waiting)
        except asyncio.CancelledError:
            if not waiting.cancel():  # the slot was given in the same moment
                self._slots.release()
            raise
        return not waiting.cancel()

    def _free_slot(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        self._slots.release()
        if not task.cancelled():
            task.exception()  # marks it as seen: asyncio logs errors that nobody looked at

    async def _close(self, delay: float) -> None:
        await asyncio.sleep(delay)
        try:
            await asyncio.wait_for(self.store.close(), _CLOSE_SECONDS)
        except Exception as error:  # the server is gone, for instance, or does not answer
            logger.debug("a datastore did not close in good order: %s", place_of(error))

    async def _close_with_the_loop(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            if os.getpid() == self._process:  # else the connections are the parent's
                await self.begin_closing()
