"""A moment: what the monotonic and the wall clock say at one time."""

from __future__ import annotations

from typing import NamedTuple

from envelope_codec.keys.clock import Clock


class Moment(NamedTuple):
    """One time on both clocks. The monotonic clock may stand still while a machine is suspended; the wall clock runs.

    Attributes:
        monotonic: seconds of the monotonic clock.
        time: Unix seconds.
    """

    monotonic: float
    time: float

    @classmethod
    def now(cls, clock: Clock) -> Moment:
        """Read both clocks."""
        return cls(clock.monotonic(), clock.time())

    def after(self, seconds: float) -> Moment:
        """Return the moment so many seconds later."""
        return Moment(self.monotonic + seconds, self.time + seconds)

    def behind(self, other: Moment) -> float:
        """Return how many seconds ``other`` is later, by the clock that says more."""
        return max(other.monotonic - self.monotonic, other.time - self.time)
