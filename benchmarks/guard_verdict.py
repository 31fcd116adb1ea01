"""What the guard decides: whether measured ratios are above a baseline by more than noise is."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TOLERANCE = 1.18
"""What a ratio may be above its baseline. Repeated runs on busy machines stray by 5 %; a regression of 25 % is over."""


@dataclass(frozen=True)
class Ratio:
    """One operation's cost, as a multiple of the same operation of a codec with a static key.

    Attributes:
        best: the cheapest round of ours by the cheapest round of the other.
        middle: the median of the quotients of single rounds.
    """

    best: float
    middle: float

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
        """Compare the rounds' times, in the order in which they were taken."""
        quotients = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        return cls(min(ours) / min(theirs), statistics.median(quotients))

    @property
    def lower(self) -> float:
        """The lower of the two. What slows our code raises both; noise seldom does."""
        return min(self.best, self.middle)


def find_slower(measured: Mapping[str, Ratio], baseline: Mapping[str, float]) -> list[str]:
    """Return the operations that are over their baseline by more than noise.

    An operation that has no baseline is not among them.
    """
    return [name for name, ratio in measured.items() if ratio.lower > baseline.get(name, float("inf")) * TOLERANCE]
