"""An event loop in the background, for a library whose calls must not be cancelled."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from envelope_codec._loops import stop_loop
from envelope_codec._process import renew_after_fork

_T = TypeVar("_T")
_END_SECONDS = 1.0


class BackgroundLoop:
    """Runs coroutines to their end in a thread with an event loop, whatever happens to those who wait for them.

    The thread starts with the first coroutine. It ends with `close`, with this object, or with the process. A forked
    child has a thread of its own.
    """

    _loop: asyncio.AbstractEventLoop | None
    _lock: threading.Lock
    _under_way: set[asyncio.Task[Any]]  # an event loop alone would let the garbage collector take them

    def __init__(self) -> None:
        self._closed = False
        renew_after_fork(self, _lock=threading.Lock, _loop=lambda: None, _under_way=set)

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run ``work``, and return what it returns. If the caller is cancelled, ``work`` goes on.

        Raises:
            ConnectionError: `close` has been called.
        """
        return await asyncio.wrap_future(self.submit(work))

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Run ``work``, from whatever thread. Return what will be its outcome, which nobody can cancel.

        Raises:
            ConnectionError: `close` has been called.
        """
        outcome: Future[_T] = Future()
        outcome.set_running_or_notify_cancel()  # from now on nobody can cancel it
        try:
            self._start().call_soon_threadsafe(_begin, self._under_way, work, outcome)
        except RuntimeError:
            work.close()
            raise ConnectionError("closed") from None
        return outcome

    def close(self) -> None:
        """Cancel what is still under way, and end the thread. Does not wait."""
        with self._lock:
            self._closed = True
            loop = self._loop
        if loop is not None:
            stop_loop(loop)

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._lock:  # threads may come at once
            if self._closed:
                raise RuntimeError("closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_serve, args=(self._loop,), name="envelope-codec-apart", daemon=True).start()
                weakref.finalize(self, stop_loop, self._loop).atexit = False
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        if left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left, timeout=_END_SECONDS))
    finally:
        loop.close()


def _begin(under_way: set[asyncio.Task[Any]], work: Coroutine[Any, Any, _T], outcome: Future[_T]) -> None:
    def settle(task: asyncio.Task[_T]) -> None:
        under_way.discard(task)
        if task.cancelled():
            outcome.set_exception(ConnectionError("closed"))
        elif error := task.exception():
            outcome.set_exception(error)
        else:
            outcome.set_result(task.result())

    task = asyncio.get_running_loop().create_task(work)
    under_way.add(task)
    task.add_done_callback(settle)
