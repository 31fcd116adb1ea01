"""Which master keys are known to be out of reach, so that others are asked first."""

from __future__ import annotations

import math

_FIRST_WAIT = 1.0
_LONGEST_WAIT = 30.0


class Breaker:
    """A circuit breaker for one master key: closed while it answers, open once it has not.

    While it is open, whoever has another master key asks that one first, and this one only if no other serves. Now and
    then one caller at a time may find out in the background whether it answers again (half-open). A refusal is an
    answer. Not locked: what two threads can do at worst is to ask once too often.
    """

    __slots__ = ("_failures", "_probe_at")

    def __init__(self) -> None:
        self._failures = 0
        self._probe_at = -math.inf

    @property
    def is_open(self) -> bool:
        """Whether it did not answer when it was last asked."""
        return self._failures > 0

    def answered(self) -> None:
        """It gave an answer: it is asked first again."""
        self._failures = 0

    def unanswered(self, now: float, jitter: float) -> None:
        """It gave no answer at ``now`` (monotonic seconds)."""
        self._failures += 1
        self._probe_at = now + self._wait() * (0.5 + 0.5 * jitter)

    def take_probe(self, now: float) -> bool:
        """Whether the caller shall find out, at ``now``, if it answers again. Nobody else shall for a while then."""
        if not self.is_open or now < self._probe_at:
            return False
        self._probe_at = now + self._wait()
        return True

    def _wait(self) -> float:
        return min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(self._failures - 1, 16))
