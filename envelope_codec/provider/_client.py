"""A client for each process: a forked child must not use the connections of its parent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from envelope_codec._process import in_child, keep, renew_after_fork
from envelope_codec.provider._call import Failed
from envelope_codec.provider.meanings import CLOSED

C = TypeVar("C")


def _do_nothing(_: object) -> None:
    pass


class ProcessClient(Generic[C]):
    """A client of an SDK, built at its first use in each process. Thread-safe.

    A forked child builds its own. The client of its parent is left alone there: it is not closed and not freed, which
    could end the parent's connections or hang. After `close`, here or in the parent before the fork, there is none.

    Args:
        build: builds a client; other threads wait meanwhile. It may raise anything, and is called again at the next
            use.
        close: closes a client.
    """

    _lock: threading.Lock
    _made: list[C]  # one client or none; `list.pop` hands it to one thread only

    def __init__(self, build: Callable[[], C], *, close: Callable[[C], object]) -> None:
        self._build = build
        self._close = close
        self._closed = False
        renew_after_fork(self, _lock=threading.Lock)
        self._made = []
        in_child(self, ProcessClient._leave)

    @classmethod
    def given(cls, client: C, *, reconnect: Callable[[C], object] = _do_nothing) -> ProcessClient[C]:
        """Hold a client that somebody else built, and closes.

        Args:
            client: the client.
            reconnect: has ``client`` open other connections; called at its first use in a forked child.
        """
        builder = _Given(client, reconnect)
        return cls(builder.take, close=_do_nothing)

    def get(self) -> C:
        """Get the client of this process.

        Raises:
            Failed: it was closed.
            Exception: whatever ``build`` raises.
        """
        made = self._made[:]
        if made and not self._closed:
            return made[0]
        with self._lock:
            if self._closed:
                raise Failed(CLOSED)
            if not self._made:
                client = self._build()
                self._made.append(client)
                if self._closed:
                    self._drop()
                    raise Failed(CLOSED)
                return client
            return self._made[0]

    @contextmanager
    def in_use(self) -> Iterator[C]:
        """Give the client for one call, and raise what `get` raises.

        If `close` comes during the call, the client is closed once more after it: the call may have connected since.
        """
        client = self.get()
        try:
            yield client
        finally:
            if self._closed:
                self._close(client)

    @property
    def made(self) -> C | None:
        """The client of this process, if it has been built."""
        made = self._made[:]
        return made[0] if made else None

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Close the client, for good. It waits for no lock, which a thread may hold while it builds a client."""
        self._closed = True
        self._drop()

    def _drop(self) -> None:
        try:
            client = self._made.pop()
        except IndexError:
            return
        self._close(client)

    def _leave(self) -> None:
        """Leave the client to the parent process."""
        keep(self._made)
        self._made = []


class _Given(Generic[C]):
    """Hands out a client that somebody else built: as it is, but in each forked child with connections anew.

    The child may not take it as it is even if nobody asked for it here before the fork: whoever built it may have used
    it, and it may hold the parent's connections.
    """

    def __init__(self, client: C, reconnect: Callable[[C], object]) -> None:
        self._client = client
        self._reconnect = reconnect
        self._is_inherited = False
        in_child(self, _Given._inherit)

    def take(self) -> C:
        if self._is_inherited:
            self._reconnect(self._client)
        return self._client

    def _inherit(self) -> None:
        self._is_inherited = True
