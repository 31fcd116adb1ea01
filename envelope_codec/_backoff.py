"""Backoff: how long to wait before the next attempt after failures in a row."""

from __future__ import annotations

from typing import NamedTuple

_MOST_DOUBLINGS = 16  # more would change nothing, and a float has an end


class Backoff(NamedTuple):
    """A wait that doubles with each failure.

    Attributes:
        first: seconds to wait after the first failure.
        longest: seconds that no wait exceeds.
    """

    first: float
    longest: float

    def seconds(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row, 1 or more, without jitter."""
        doublings = min(max(0, failures - 1), _MOST_DOUBLINGS)
        return min(self.longest, self.first * 2.0**doublings)


def shorten(seconds: float, jitter: float) -> float:
    """Spread a wait: return between half of ``seconds`` and all of it. ``jitter`` is a number from 0 to 1."""
    return seconds * (0.5 + 0.5 * jitter)


def lengthen(seconds: float, jitter: float, spread: float) -> float:
    """Spread a wait: return ``seconds``, or up to the share ``spread`` more. ``jitter`` is a number from 0 to 1."""
    return seconds * (1 + spread * jitter)
