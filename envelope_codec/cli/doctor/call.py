"""Calls that may hang: each in a thread that nobody waits for longer than until a deadline."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")

_LONGEST_WORDS = 400
_STORES = "envelope_codec.storage"


class Deadline:
    """A moment on the monotonic clock, ``seconds`` from now."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds, at least 0."""
        return max(0.0, self._end - time.monotonic())


class Calls:
    """Starts calls in daemon threads, and knows which still run."""

    def __init__(self) -> None:
        self._started: list[Future[Any]] = []

    async def results(self, works: Sequence[Callable[[], T]], deadline: Deadline) -> list[T | None]:
        """What each of ``works`` returns, at once in threads of their own, or None where it is too late.

        Raises what the first of them raises that fails in time.
        """
        waiting = [asyncio.wrap_future(self._start(work)) for work in works]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=deadline.remaining)
            for future in late:
                future.cancel()
        return [None if future.cancelled() else future.result() for future in waiting]

    async def result(self, work: Callable[[], T], deadline: Deadline) -> T | None:
        """The same for one."""
        return (await self.results([work], deadline))[0]

    @property
    def hang(self) -> bool:
        """Whether any call still runs."""
        return not all(future.done() for future in self._started)

    def _start(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # from now on nobody can cancel it under the thread

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        self._started.append(future)
        threading.Thread(target=run, name="envelope-codec-doctor", daemon=True).start()
        return future


class ProviderWords(logging.Handler):
    """Keeps what providers log in each thread: the words of the KMS, which errors leave out. Stores log theirs for
    debugging alone.

    Neither log secrets. What comes with a traceback is left out but for its first line.
    """

    def __init__(self) -> None:
        super().__init__()
        self._local = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        if record.levelno < logging.WARNING and not record.name.startswith(f"{_STORES}."):
            return
        with suppress(Exception):  # a third party's broken format
            self._local.words = " ".join(record.getMessage().split())[:_LONGEST_WORDS]

    def taken(self) -> str:
        """The last words in this thread; then they are forgotten."""
        words: str = getattr(self._local, "words", "")
        self._local.words = ""
        return words


@contextmanager
def quiet_logs() -> Iterator[ProviderWords]:
    """Keeps all logs off the screen, and the words of providers and stores at hand."""
    words, silence = ProviderWords(), logging.NullHandler()
    ours, root = logging.getLogger("envelope_codec"), logging.getLogger()
    propagate, ours.propagate = ours.propagate, False
    stores = logging.getLogger(_STORES)
    level = stores.level
    stores.setLevel(logging.DEBUG)
    ours.addHandler(words)
    root.addHandler(silence)  # with no handler at all, warnings would go to standard error
    try:
        yield words
    finally:
        root.removeHandler(silence)
        ours.removeHandler(words)
        stores.setLevel(level)
        ours.propagate = propagate
