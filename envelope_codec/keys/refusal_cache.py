"""Refusals of records, bounded in number and in time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from envelope_codec.errors import EnvelopeError

_AT_ONCE = 64  # of those that have expired, so that no caller pays for all that expired in a quiet hour


class RefusalCache:
    """Why records could not be opened, by their digests, each for the same time. The oldest make room.

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
        self._kept: dict[bytes, tuple[EnvelopeError, float]] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._kept)

    def __setitem__(self, digest: bytes, refusal: EnvelopeError) -> None:
        now = self._now()
        self._kept.pop(digest, None)
        self._kept[digest] = refusal, now + self._ttl
        with suppress(StopIteration):  # nothing is left
            for _ in range(_AT_ONCE):
                oldest = next(iter(self._kept))
                if now < self._kept[oldest][1] and len(self._kept) <= self._size:
                    break
                del self._kept[oldest]

    def get(self, digest: bytes) -> EnvelopeError | None:
        """Return why the record of this digest was refused, if that still counts."""
        refusal, until = self._kept.get(digest, (None, 0.0))
        return refusal if self._now() < until else None

    def check(self, digest: bytes) -> None:
        """Raise a copy of the error that the record of this digest was refused with, if that still counts."""
        refusal = self.get(digest)
        if refusal is not None:
            raise refusal.fresh()
