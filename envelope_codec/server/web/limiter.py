"""How often a caller may do something: each has a bucket that fills evenly, in memory that is bounded."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from cachetools import LRUCache

_PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3_600.0, "day": 86_400.0}
_CALLERS = 10_000


class Limiter:
    """Counts by caller, in this process.

    Each caller may do as much at once as the rate says of its period, and gets that back evenly over the period (the
    generic cell rate algorithm: one number for each caller).

    Args:
        rate: such as ``600/minute``; None for any.
        callers: so many are remembered, those of late. Who is forgotten begins anew.
        clock: monotonic seconds.
    """

    def __init__(
        self, rate: str | None, *, callers: int = _CALLERS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate = rate
        self._clock = clock
        self._owed: LRUCache[str, float] = LRUCache(callers)  # when each caller's bucket will be full again
        number, _, period = (rate or "1/second").partition("/")
        self._burst = _PERIODS[period]
        self._each = self._burst / int(number)

    def late(self, caller: str) -> float:
        """The seconds until another of ``caller`` may be counted, 0 for now. Nothing is counted."""
        if self.rate is None:
            return 0.0
        now = self._clock()
        late = max(now, self._owed.get(caller, now)) + self._each - now - self._burst
        return late if late > self._each * 1e-6 else 0.0  # more than what adding up many small numbers may come to

    def count(self, caller: str) -> None:
        """Count one of ``caller``, whether or not it is one too many."""
        now = self._clock()
        self._owed[caller] = max(now, self._owed.get(caller, now)) + self._each

    def take(self, caller: str) -> float:
        """Count one of ``caller`` unless it is one too many; then the seconds until it may be, else 0."""
        late = self.late(caller)
        if not late and self.rate is not None:
            self.count(caller)
        return late

    def give_back(self, caller: str) -> None:
        """Take back one that was counted."""
        owed = self._owed.get(caller)
        if owed is not None:
            self._owed[caller] = owed - self._each


def retry_after(seconds: float) -> dict[str, str]:
    """The header that tells when to come back."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
