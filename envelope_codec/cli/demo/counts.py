"""Counts of what happened: KMS calls, payloads that were sealed and opened, rows that were looked up."""

from __future__ import annotations

import threading
from collections import Counter

from envelope_codec._process import renew_after_fork
from envelope_codec.observe import Event


class Counts:
    """An `Observer` that counts events by operation and outcome. An event of several payloads counts as so many."""

    _lock: threading.Lock

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        renew_after_fork(self, _lock=threading.Lock)

    def on_event(self, event: Event) -> None:
        """Count ``event``."""
        with self._lock:
            self._counts[event.operation, event.outcome] += event.payloads or 1

    def copy(self) -> Counter[tuple[str, str]]:
        """Copy the counts so far."""
        with self._lock:
            return self._counts.copy()
