"""Event loops that a forked child inherited, made fit for use there.

asyncio knows nothing of forks. The child's loop shares two things with the parent's: the epoll instance, and the pair
of sockets through which threads wake a loop. So each process takes signals and replies that are for the other one. The
loop's default executor counts on threads that the child has not got.
"""

from __future__ import annotations

import asyncio
import selectors
import signal
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from envelope_codec._process import in_child, keep

ours: ContextVar[bool] = ContextVar("ours", default=False)
"""Set while connections are opened that a forked child must not serve."""

_TICK = 0.02  # seconds


class _Loops:
    """The event loops that this process has seen.

    Attributes:
        known: loops that share nothing with another process.
        forked: whether this process is a child, which may have inherited loops that are not known.
        awake: by loop, how many callers keep it awake.
    """

    def __init__(self) -> None:
        self.known: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        self.forked = False
        self.awake: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, int] = weakref.WeakKeyDictionary()
        in_child(self, _Loops._renew)

    def _renew(self) -> None:
        # At once: the loop looks for input before it runs anything.
        for loop in [loop for loop in self.known if not loop.is_closed()]:
            with suppress(Exception):  # asyncio has changed: `kept_awake` helps then
                _separate(loop)
            loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
        self.awake = weakref.WeakKeyDictionary()
        self.forked = True


_loops = _Loops()


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop. From now on it is made fit for use in each forked child."""
    loop = asyncio.get_running_loop()
    if loop not in _loops.known:
        _loops.known.add(loop)
    return loop


@contextmanager
def kept_awake() -> Iterator[None]:
    """Inside, the running event loop of a forked child notices callbacks from threads, even if it is inherited.

    Another process may take the signal that is to wake the loop. So the loop wakes by itself while somebody waits.
    """
    if not _loops.forked:
        yield
        return
    loop, awake = running_loop(), _loops.awake
    awake[loop] = awake.get(loop, 0) + 1
    if awake[loop] == 1:
        _tick(loop)
    try:
        yield
    finally:
        awake[loop] -= 1


def stop_loop(loop: asyncio.AbstractEventLoop) -> None:
    """End the run of an event loop in another thread. Does nothing if it is closed."""
    with suppress(RuntimeError):  # it is closed
        loop.call_soon_threadsafe(loop.stop)


def _tick(loop: asyncio.AbstractEventLoop) -> None:
    if _loops.awake.get(loop):
        loop.call_later(_TICK, _tick, loop)


def _separate(loop: Any) -> None:
    """Give an inherited loop of asyncio's a selector and a pair of sockets of its own.

    Other things that are registered stay so: the process may have forked to become a daemon. Connections of this
    library are the parent's, and are left to it.
    """
    if not isinstance(loop, asyncio.SelectorEventLoop):
        return
    inherited: Any = loop
    old, pair = inherited._selector, (inherited._ssock, inherited._csock)
    fresh = selectors.DefaultSelector()
    for key in list(old.get_map().values()):
        if key.fd != pair[0].fileno() and not _is_ours(key):
            with suppress(OSError, ValueError):  # closed meanwhile
                fresh.register(key.fileobj, key.events, key.data)
    inherited._selector = fresh
    inherited._internal_fds -= 1
    inherited._make_self_pipe()
    keep((old, pair))
    if threading.current_thread() is threading.main_thread():
        set_to = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(inherited._csock.fileno() if set_to == pair[1].fileno() else set_to)


def _is_ours(key: selectors.SelectorKey) -> bool:
    for handle in key.data:
        context = getattr(handle, "_context", None)
        if context is not None and context.get(ours, False):
            return True
    return False
