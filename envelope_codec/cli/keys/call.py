"""Calls that may hang: each runs in a thread, and nobody waits for it longer than until a deadline."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Deadline:
    """A moment on the monotonic clock, ``seconds`` from now."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """The seconds that are left, at least 0."""
        return max(0.0, self._end - time.monotonic())


class Calls:
    """Starts calls in daemon threads, and knows which of them still run."""

    def __init__(self) -> None:
        self._started: list[Future[Any]] = []

    async def results(self, works: Sequence[Callable[[], T]], deadline: Deadline) -> list[T | None]:
        """Run ``works`` at once, each in a thread, and return the result of each, or None where it came too late.

        If some fail in time, the error of the first of them is raised.
        """
        waiting = [asyncio.wrap_future(self._start(work)) for work in works]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=deadline.remaining)
            for future in late:
                future.cancel()
        return [None if future.cancelled() else future.result() for future in waiting]

    async def result(self, work: Callable[[], T], deadline: Deadline) -> T | None:
        """Run ``work`` in a thread, and return its result, or None where it came too late."""
        return (await self.results([work], deadline))[0]

    @property
    def hang(self) -> bool:
        """Whether any call still runs."""
        return not all(future.done() for future in self._started)

    def _start(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # from now on nobody can cancel it while the thread works

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        self._started.append(future)
        threading.Thread(target=run, name="envelope-codec-call", daemon=True).start()
        return future
