"""What callers share: so much in all, so much for each, and for nobody so much that nothing is left for the next."""

from __future__ import annotations

import math
from collections import Counter
from enum import Enum

_TOO_FEW_TO_SHARE = 4


class Lack(Enum):
    """Why nothing more is given."""

    own = "own"
    """The caller holds as much as one may."""
    all = "all"
    """There is not enough left for anybody."""


class Budget:
    """An amount of something, such as bytes or requests under way. Of one event loop.

    A caller who holds something gets no more than twice what is left. So a few callers, or one under several names,
    leave room: n that take what they can get leave one part in 2n + 1.

    Args:
        total: so much is there; infinity for any.
        each: and so much for one caller.
    """

    def __init__(self, total: float, each: float) -> None:
        self.total = total
        self.each = each
        self.used = 0.0
        self._held: Counter[str] = Counter()

    def lack(self, caller: str, amount: float = 1) -> Lack | None:
        """Why ``caller`` can't have ``amount`` more, or None if it can."""
        held, left = self._held.get(caller, 0), self.total - self.used
        if held + amount > self.each:
            return Lack.own
        if amount > left:
            return Lack.all
        if held and self.total >= _TOO_FEW_TO_SHARE and held + amount > 2 * left:
            return Lack.own
        return None

    def take(self, caller: str, amount: float = 1) -> Lack | None:
        """Give ``caller`` so much; or why not."""
        found = self.lack(caller, amount)
        if found is None:
            self._held[caller] += amount  # type: ignore[assignment]
            self.used += amount
        return found

    def give_back(self, caller: str, amount: float = 1) -> None:
        """Take back what ``caller`` no longer needs."""
        self.used -= amount
        self._held[caller] -= amount  # type: ignore[assignment]
        if self._held[caller] <= 0:  # who holds nothing is not remembered
            del self._held[caller]

    @property
    def callers(self) -> int:
        """How many hold something."""
        return len(self._held)


UNBOUNDED = math.inf
"""A total that is not bounded by itself."""
