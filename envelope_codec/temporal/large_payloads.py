"""Large payloads: they are sealed and opened in threads, so that an event loop does other work meanwhile."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakKeyDictionary

from envelope_codec._loops import kept_awake, running_loop
from envelope_codec._process import PerProcess, renew_after_fork

_K = TypeVar("_K")
_T = TypeVar("_T")

LARGE = 5 * 2**18
"""A payload of more bytes goes to a thread, or one that takes as long. It is sealed in some 0.5 ms, and there and back
again in 0.05 ms."""

SHARE = 2 * 2**20
"""After so much work of one call, in bytes, the event loop does what else is due. It takes some 1 ms."""

EACH = 2**15
"""What a payload counts beside its bytes: a small one takes as long as the cipher does for so many."""

_THREADS = min(4, os.cpu_count() or 1)


class _Threads:
    """The threads of this process, and for each event loop the turns of those who want one.

    A payload that waits for its turn takes no memory but its own, however many wait.
    """

    _turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]

    def __init__(self) -> None:
        self._pool = PerProcess(lambda _: ThreadPoolExecutor(_THREADS, thread_name_prefix="envelope-codec-large"))
        renew_after_fork(self, _turns=WeakKeyDictionary)

    def turns(self) -> asyncio.Semaphore:
        loop = running_loop()
        return self._turns.get(loop) or self._turns.setdefault(loop, asyncio.Semaphore(_THREADS))

    async def run(self, work: Callable[[_K], _T], key: _K) -> _T:
        # Not the future's own result: futures of threads refer to themselves, so that one of 20 MB would stay for long.
        outcome: list[tuple[None, _T] | tuple[BaseException, None]] = []
        try:
            running = asyncio.get_running_loop().run_in_executor(self._pool.get(), _catch, work, key, outcome)
        except RuntimeError:  # the process ends, or may have no more threads
            return work(key)
        with kept_awake():
            await running
        error, value = outcome.pop()
        if error is None:
            return value  # type: ignore[return-value]
        try:
            raise error
        finally:
            del error  # or the error and this frame would keep each other


def _catch(work: Callable[[_K], _T], key: _K, outcome: list[tuple[None, _T] | tuple[BaseException, None]]) -> None:
    try:
        outcome.append((None, work(key)))
    except BaseException as error:
        outcome.append((error, None))


_threads = _Threads()


async def work_on(work: Callable[[bytes], _T], data: bytes) -> _T:
    """Return ``work(data)``, which a thread has done if ``data`` is large. What it raises is raised here."""
    return work(data) if len(data) <= LARGE else await _threads.run(work, data)


def must_wait() -> bool:
    """Whether who wants a thread now has to wait for a turn."""
    return _threads.turns().locked()


async def work_in_thread(
    work: Callable[[_K], _T], key: _K, find: Callable[[], _K | None], get: Callable[[], Awaitable[_K]]
) -> _T:
    """Return ``work(key)``, which a thread has done. What it raises is raised here.

    Some payloads are worked on at a time; the others wait. Those who wait for a KMS hold up nobody: they have no turn.
    If the caller is cancelled, its turn ends at once, and a result that comes later is forgotten.

    Args:
        work: needs nothing of the event loop.
        key: a key that may be used now.
        find: returns a key that may be used now, if one is at hand. It is asked after a wait, since a lease may have
            ended meanwhile.
        get: gets a key from a KMS.
    """
    turns = _threads.turns()
    while True:
        waits = turns.locked()
        async with turns:
            current = find() if waits else key
            if current is not None:
                return await _threads.run(work, current)
        key = await get()
