"""The pacer: while a master key throttles, this process calls it one call at a time, at intervals."""

from __future__ import annotations

import math
from enum import Enum

_SHORTEST, _FIRST, _LONGEST = 0.002, 0.1, 2.0  # seconds from call to call
_HALVED_IN = 5.0  # seconds


class PacerState(Enum):
    """State of a pacer."""

    FREE = "calls are made as they come"
    PACED = "the KMS throttles: from call to call there is an interval"


class Pacer:
    """A pacer for one master key. The keyring's lock guards every use.

    A KMS that throttles has a budget for an account or a key, and each of many processes can only find out its share.
    So a throttled call doubles the interval. An answered one halves it, and time shortens it too. So the interval stays
    short where somebody else uses the budget up, and calls are rejected however few there are.

    ::

        FREE --throttled--> PACED --throttled--> PACED, with a longer interval
        PACED --answered, time--> PACED, with a shorter interval; FREE, once it is too short to matter
    """

    __slots__ = ("_before", "_changed_at", "_interval", "_second", "_sent", "_turn_at")

    def __init__(self) -> None:
        self._interval = 0.0  # when a call last changed it
        self._changed_at = -math.inf
        self._turn_at = -math.inf
        self._second = 0  # the running second, with the calls sent in it and in the one before
        self._sent = 0
        self._before = 0

    def state(self, now: float) -> PacerState:
        """Return the state at ``now`` (monotonic seconds)."""
        return PacerState.PACED if self.interval(now) else PacerState.FREE

    def interval(self, now: float) -> float:
        """Return the seconds from call to call; 0 for none."""
        return decayed(self._interval, now - self._changed_at)

    def wait(self, now: float) -> float:
        """Return the seconds until the next call may be sent; 0 for at once."""
        return max(0.0, self._turn_at + self.interval(now) - now)

    def send(self, now: float, *, urgent: bool = False) -> None:
        """Take note that a call is sent.

        Args:
            now: monotonic seconds.
            urgent: whether it waited for no turn. Then it delays no other either: many would take all turns away.
        """
        second = math.floor(now)
        if second != self._second:
            self._before = self._sent if second == self._second + 1 else 0
            self._second, self._sent = second, 0
        self._sent += 1
        if not urgent or self.state(now) is PacerState.FREE:
            self._turn_at = now

    def throttle(self, sent: float, now: float) -> None:
        """Take note that a call that was sent at ``sent`` was throttled.

        Calls that were sent before the interval was last changed say nothing of the new one.
        """
        if sent >= self._changed_at:
            self._interval = lengthened(self.interval(now), max(self._sent, self._before))
            self._changed_at = now

    def answer(self, sent: float, now: float) -> None:
        """Take note that a call that was sent at ``sent`` was answered, whatever the answer."""
        if self._interval and sent >= self._changed_at:
            self._interval = self.interval(now) / 2
            self._changed_at = now


def lengthened(interval: float, sent: int) -> float:
    """Decide on the seconds from call to call after a throttled one.

    Args:
        interval: by now; 0 for none.
        sent: calls in a second, before there was an interval. Of many, half as many are sent then. Of few, as many as
            each by itself would be sent again after another failure.
    """
    first = min(_FIRST, 2 / max(1, sent))
    return min(_LONGEST, max(_SHORTEST, 2 * interval if interval else first))


def decayed(interval: float, seconds: float) -> float:
    """Decide on the seconds from call to call, so many seconds after the last that changed them. 0 for none."""
    shorter = interval * 2.0 ** -(seconds / _HALVED_IN) if interval else 0.0
    return shorter if shorter >= _SHORTEST else 0.0
