"""A client library that blocks, called from an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from envelope_codec._process import PerProcess
from envelope_codec.provider import ProcessClient

_T = TypeVar("_T")
_Client = TypeVar("_Client")

THREADS = 32
"""How many calls are under way at most. An event loop asks for no more."""


class ThreadedClient(Generic[_Client]):
    """A client that blocks, and the threads that call it. Both are made at their first use in each process.

    Args:
        make: makes the client, in one of the threads, while the others wait. It may raise anything, and is called again
            at the next use. Any number of threads may use what it makes.
        close: closes the client.
        name: of the threads.
    """

    def __init__(self, make: Callable[[], _Client], close: Callable[[_Client], object], *, name: str) -> None:
        self._client = ProcessClient(make, close=close)
        self._threads = PerProcess(lambda _: ThreadPoolExecutor(THREADS, thread_name_prefix=name))

    async def run(self, work: Callable[[_Client], _T]) -> _T:
        """Run ``work`` in a thread. It goes on there if the caller is cancelled."""
        return await asyncio.get_running_loop().run_in_executor(self._threads.get(), self._use, work)

    def close(self) -> None:
        """Release the connections. Does not wait for calls under way."""
        if (threads := self._threads.made) is not None:
            threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _use(self, work: Callable[[_Client], _T]) -> _T:
        with self._client.in_use() as client:
            return work(client)
