"""A figure over several rounds: its median and quartiles."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """The median of some rounds, between their quartiles."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarize the values of all rounds."""
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(low, middle, high)

    def fields(self, prefix: str) -> dict[str, float]:
        """Return the three as fields of a JSON row."""
        return {f"{prefix}_low": self.low, prefix: self.middle, f"{prefix}_high": self.high}


def quotients(values: Sequence[float], others: Sequence[float]) -> Spread:
    """Summarize what one is of another, round by round, so that a slower moment of the machine counts for both."""
    return Spread.of([value / other for value, other in zip(values, others, strict=True)])
