"""The circuit breaker: a master key that is known to be out of reach is asked after the others."""

from __future__ import annotations

from enum import Enum

from envelope_codec._backoff import Backoff, shorten

_BACKOFF = Backoff(1.0, 30.0)


class BreakerState(Enum):
    """State of a circuit breaker: what is known of its master key."""

    CLOSED = "it answers"
    OPEN = "it did not answer when it was last asked"
    HALF_OPEN = "the same, and one caller is finding out whether it answers again"


class Breaker:
    """A circuit breaker for one master key.

    While it is not closed, whoever has another master key asks that one first, and this one only if no other serves.
    Now and then one caller at a time may find out in the background whether it answers again. A refusal is an answer.
    Not locked: what two threads can do at worst is to ask once too often.

    ::

        CLOSED --no answer--> OPEN --take_probe--> HALF_OPEN --no answer--> OPEN
        any --answer--> CLOSED
        HALF_OPEN --take_probe, if the probe took too long--> HALF_OPEN

    The state follows from the failures since the last answer. So an answer closes the breaker, even if another thread
    takes a probe at the same moment.
    """

    __slots__ = ("_failures", "_opened_at", "_probe_at", "_probing")

    def __init__(self) -> None:
        self._failures = 0
        self._opened_at = 0.0
        self._probing = False
        self._probe_at = 0.0

    @property
    def state(self) -> BreakerState:
        """What is known of the master key."""
        if not self.is_open:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._probing else BreakerState.OPEN

    @property
    def is_open(self) -> bool:
        """Whether the master key did not answer when it was last asked."""
        return self._failures > 0

    def close(self) -> None:
        """Take note of an answer: the master key is asked first again."""
        self._failures = 0

    def open(self, now: float, jitter: float, begun: float | None = None) -> None:
        """Take note that no answer came.

        Args:
            now: monotonic seconds.
            jitter: a number from 0 to 1.
            begun: when the call was made. Calls that were under way together tell of one outage: those after the first
                change nothing, or a burst of them would make the next probe as late as a long outage does.
        """
        if begun is not None and self.is_open and begun < self._opened_at:
            return
        self._failures += 1
        self._opened_at = now
        self._probe_at = now + shorten(_BACKOFF.seconds(self._failures), jitter)
        self._probing = False

    def take_probe(self, now: float) -> bool:
        """Say whether this caller is to try the master key again at ``now`` (monotonic seconds).

        If so, no other caller is to for a while.
        """
        if not self.is_open or now < self._probe_at:
            return False
        self._probe_at = now + _BACKOFF.seconds(self._failures)
        self._probing = True
        return True
