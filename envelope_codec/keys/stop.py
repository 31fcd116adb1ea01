"""Stopping: a worker that shuts down is not held up by what waits for a KMS."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from envelope_codec._process import renew_after_fork

AT_SHUTDOWN = 3.0
"""Seconds for which a caller still waits for a KMS once its worker shuts down."""


class Stop:
    """A request to all who wait, now or later, to wait no longer than a few seconds. It is made once."""

    _lock: Any  # a reentrant lock

    def __init__(self) -> None:
        renew_after_fork(self, _lock=threading.RLock)
        self._set = False
        self._listeners: set[Callable[[], None]] = set()

    def set(self) -> None:
        """Make the request."""
        with self._lock:
            self._set = True
            listeners, self._listeners = self._listeners, set()
        for listener in listeners:
            listener()

    @property
    def is_set(self) -> bool:
        """Whether the request has been made."""
        return self._set

    def add(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` once, when the request is made or now."""
        with self._lock:
            if not self._set:
                self._listeners.add(listener)
                return
        listener()

    def remove(self, listener: Callable[[], None]) -> None:
        """Do not call it any more."""
        with self._lock:
            self._listeners.discard(listener)


stopping: ContextVar[Stop | None] = ContextVar("stopping", default=None)
"""Set for everything that a worker runs, so that its shutdown is not held up by what waits for a KMS."""
