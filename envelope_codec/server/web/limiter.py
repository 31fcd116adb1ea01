"""A limit on how often a caller may do something: one bucket for each, which fills evenly, in bounded memory."""

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
        rate: such as ``600/minute``; None for no limit.
        callers: how many are remembered, the latest ones. A caller that was forgotten begins anew.
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

    def wait_time(self, caller: str) -> float:
        """Return the seconds until ``caller`` may do it again; 0 for now. Nothing is counted."""
        if self.rate is None:
            return 0.0
        now = self._clock()
        seconds = max(now, self._owed.get(caller, now)) + self._each - now - self._burst
        return seconds if seconds > self._each * 1e-6 else 0.0  # else it is the rounding error of a long sum

    def count(self, caller: str) -> None:
        """Count one for ``caller``, even if it is one too many."""
        now = self._clock()
        self._owed[caller] = max(now, self._owed.get(caller, now)) + self._each

    def take(self, caller: str) -> float:
        """Count one for ``caller`` and return 0. If it would be one too many, return the seconds to wait instead."""
        seconds = self.wait_time(caller)
        if not seconds and self.rate is not None:
            self.count(caller)
        return seconds

    def give_back(self, caller: str) -> None:
        """Give back one that was counted."""
        owed = self._owed.get(caller)
        if owed is not None:
            self._owed[caller] = owed - self._each


def retry_after(seconds: float) -> dict[str, str]:
    """Return the header that says when to come back."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
