"""Answers that count for a few seconds, bounded in number and in time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")

_AT_ONCE = 64  # of those that have expired, so that no caller pays for all that expired in a quiet hour


class BriefCache(Generic[T]):
    """Answers by digests, each for the same time. The oldest make room.

    The keyring's lock guards every use.

    Args:
        size: how many are kept.
        ttl: seconds for which each counts.
        now: monotonic seconds.
    """

    def __init__(self, size: int, ttl: float, now: Callable[[], float]) -> None:
        self._size = size
        self._ttl = ttl
        self._now = now
        self._kept: dict[bytes, tuple[T, float]] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._kept)

    def __setitem__(self, digest: bytes, answer: T) -> None:
        now = self._now()
        self._kept.pop(digest, None)
        self._kept[digest] = answer, now + self._ttl
        with suppress(StopIteration):  # nothing is left
            for _ in range(_AT_ONCE):
                oldest = next(iter(self._kept))
                if now < self._kept[oldest][1] and len(self._kept) <= self._size:
                    break
                del self._kept[oldest]

    def get(self, digest: bytes) -> T | None:
        """Return the answer of this digest, if it still counts."""
        kept = self._kept.get(digest)
        return kept[0] if kept is not None and self._now() < kept[1] else None
