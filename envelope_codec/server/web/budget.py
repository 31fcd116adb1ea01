"""An amount that callers share, with a bound for all, a bound for each, and something left for the next caller."""

from __future__ import annotations

import math
from collections import Counter
from enum import Enum

_TOO_FEW_TO_SHARE = 4


class Lack(Enum):
    """The reason why a caller gets nothing more."""

    own = "own"
    """The caller holds as much as one caller may."""
    all = "all"
    """There is not enough left for anybody."""


class Budget:
    """An amount of something, such as bytes or requests under way. One event loop uses it.

    A caller who holds something may hold no more than twice what is left. So a few callers, or one under several names,
    leave room for others: n callers that take what they can get leave one part in 2n + 1.

    Args:
        total: the whole amount; infinity if it is not bounded.
        each: the most that one caller may hold.
    """

    def __init__(self, total: float, each: float) -> None:
        self.total = total
        self.each = each
        self.used = 0.0
        self._held: Counter[str] = Counter()

    def find_lack(self, caller: str, amount: float = 1) -> Lack | None:
        """Return why ``caller`` can't have ``amount`` more, or None if it can."""
        held, left = self._held.get(caller, 0), self.total - self.used
        if held + amount > self.each:
            return Lack.own
        if amount > left:
            return Lack.all
        if held and self.total >= _TOO_FEW_TO_SHARE and held + amount > 2 * left:
            return Lack.own
        return None

    def take(self, caller: str, amount: float = 1) -> Lack | None:
        """Give ``caller`` that much, and return None; or give nothing, and return why."""
        found = self.find_lack(caller, amount)
        if found is None:
            self._held[caller] += amount  # type: ignore[assignment]
            self.used += amount
        return found

    def give_back(self, caller: str, amount: float = 1) -> None:
        """Take back what ``caller`` no longer needs."""
        self.used -= amount
        self._held[caller] -= amount  # type: ignore[assignment]
        if self._held[caller] <= 0:  # a caller that holds nothing is forgotten
            del self._held[caller]

    @property
    def callers(self) -> int:
        """Number of callers that hold something."""
        return len(self._held)


UNBOUNDED = math.inf
"""A total without bound."""
