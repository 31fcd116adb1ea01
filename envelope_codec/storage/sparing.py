"""What is left inline, sealed, because Temporal does not keep it: a store would keep it for ever, and for nobody."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import Any

from temporalio.api.common.v1 import Payload

from envelope_codec._process import renew_after_fork
from envelope_codec.observe import logger
from envelope_codec.temporal.store_target import Fate, MarkedTarget, Run

REFERENCE = 1_024
"""Bytes of a sealed reference, about. The SDK's core holds that, too, where a payload is stored."""


class Sparing:
    """Decides which payloads need no store, by the fate that their target tells. What tells no fate is stored.

    Args:
        answers: answers to queries of less than so many bytes are left inline.
        memory: so many bytes may be held at once by commands that replays repeat, and by what local activities are
            given.
    """

    def __init__(self, *, answers: int, memory: int) -> None:
        self._answers = answers
        self._memory = ReplayMemory(memory)

    def spares(self, context: Any, payload: Payload) -> bool:
        """Whether ``payload`` is left inline. ``context`` is what the SDK tells a selector."""
        target = getattr(context, "target", None)
        if not isinstance(target, MarkedTarget) or target.fate is Fate.SENT:
            return False
        size = payload.ByteSize()
        return size < self._answers if target.fate is Fate.ANSWER else self._memory.admit(target.run, size)


class ReplayMemory:
    """The memory that what is left inline may take in this process, beyond what references would.

    The SDK's core holds the input of each activity, local or not, for as long as the worker has the workflow at hand.
    So what is admitted counts until its workflow is given up.

    Args:
        limit: in bytes.
    """

    _lock: threading.Lock
    _held: int
    _by_run: weakref.WeakKeyDictionary[Run, list[int]]
    _freed: deque[int]

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._full = False
        # Runs are freed in any thread, also in one that has the lock: so this appends to `_freed`, and waits for
        # nothing. A forked child has none of its parent's runs at hand.
        renew_after_fork(self, _lock=threading.Lock, _held=int, _by_run=weakref.WeakKeyDictionary, _freed=deque)

    @property
    def held(self) -> int:
        """How many bytes are held."""
        with self._lock:
            self._settle()
            return self._held

    def admit(self, run: Run, size: int) -> bool:
        """Count ``size`` bytes more that ``run`` holds. False if that would be too many; then nothing is counted."""
        if self._limit == 0:
            return False
        with self._lock:
            admitted = self._count(run, max(0, size - REFERENCE))
            news = not admitted and not self._full
            self._full = self._full or not admitted
        if news:
            logger.warning(
                "what replays repeat, and what local activities are given, is stored: "
                "all of storage_replay_memory is in use"
            )
        return admitted

    def _count(self, run: Run, excess: int) -> bool:
        self._settle()
        if self._held + excess > self._limit:
            return False
        self._held += excess
        sizes = self._by_run.get(run)
        if sizes is None:
            sizes = self._by_run[run] = [0]
            weakref.finalize(run, _release, sizes, self._freed).atexit = False
        sizes[0] += excess
        return True

    def _settle(self) -> None:
        while self._freed:
            self._held -= self._freed.popleft()
        if self._held <= self._limit // 2:
            self._full = False  # it is told once, not at each payload


def _release(sizes: list[int], freed: deque[int]) -> None:
    freed.append(sizes[0])
