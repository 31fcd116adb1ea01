"""How many requests a caller may make. The counting is `limits`'."""

from __future__ import annotations

import math
import time

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from envelope_codec.server.refusal import Refusal


class Limiter:
    """Counts requests by caller, in this process.

    Args:
        rate: such as ``600/minute``; None for any.
    """

    def __init__(self, rate: str | None) -> None:
        self._rate = None if rate is None else parse(rate)
        self._strategy = None if rate is None else SlidingWindowCounterRateLimiter(MemoryStorage())

    def count(self, caller: str) -> None:
        """Count a request of ``caller``. Raises `Refusal` if it is one too many."""
        if self._rate is None or self._strategy is None or self._strategy.hit(self._rate, caller):
            return
        seconds = self._strategy.get_window_stats(self._rate, caller).reset_time - time.time()
        raise Refusal(
            429,
            "too_many_requests",
            f"More than {self._rate}.",
            headers={"Retry-After": str(max(1, math.ceil(seconds)))},
        )
