"""The lease: for how long a master key's last successful call vouches for the keys under it."""

from __future__ import annotations

from enum import Enum
from typing import Any

from envelope_codec.keys.clock import Timer
from envelope_codec.keys.flight import Flight
from envelope_codec.keys.lease_name import LeaseName
from envelope_codec.keys.moment import Moment
from envelope_codec.keys.witness import Witness

# Shares of a lease's time that are left when something is due.
_RENEW_LEFT = 0.2
_RENEW_SPREAD = 0.1  # by so much, some processes renew before others
_LAST_LOOK_LEFT = 0.05


class LeaseState(Enum):
    """State of a lease: the outcome of the last call that concerned it. `STATE_AFTER` has every change."""

    ANSWERED = "the KMS answered: live until its own end"
    UNANSWERED = "the KMS gave no answer: live until its own end, and for the grace after that"
    DENIED = "the KMS refused: over for good; a later success begins another lease"


class Answer(Enum):
    """Outcome of a call that concerned a lease."""

    SUCCESS = "the KMS did what it was asked"
    CORRUPT = "the KMS answered, but the witness did not open: it proves nothing of the key"
    NONE = "the KMS gave no answer"
    DENIAL = "the KMS refused"


STATE_AFTER: dict[tuple[LeaseState, Answer], LeaseState] = {
    (LeaseState.ANSWERED, Answer.NONE): LeaseState.UNANSWERED,
    (LeaseState.ANSWERED, Answer.DENIAL): LeaseState.DENIED,
    (LeaseState.UNANSWERED, Answer.SUCCESS): LeaseState.ANSWERED,
    (LeaseState.UNANSWERED, Answer.CORRUPT): LeaseState.ANSWERED,
    (LeaseState.UNANSWERED, Answer.DENIAL): LeaseState.DENIED,
}
"""The state that follows. Where a pair is missing, the state stays."""

# Before Python 3.12, looking up an enum's member is slow, and this one is looked up for each payload.
_DENIED = LeaseState.DENIED


class Lease:
    """State of one `LeaseName`. Not locked: the keyring's lock guards every change.

    It is live until the monotonic or the wall clock says that it has ended, whichever is first (the monotonic clock
    may stop while a machine is suspended). Grace extends it while the KMS can't be reached. Grace is counted from the
    last success, so it can't re-arm itself. A denial ends both for good.

    Args:
        name: what it vouches for.
        sent: when the call was sent whose success begins it: a lease counts from there, not from the reply.

    Attributes:
        name: what it vouches for.
        state: the outcome of the last call.
        used: whether a payload was opened or sealed under it since its last renewal was sent.
        failures: attempts to renew it that got no answer, since the last success.
        witness: the success that renewals repeat; None where there is nothing to repeat.
        flight: the renewal under way.
        timer: the next renewal in the background.
        hurried: monotonic seconds at which a refusal last brought its renewal forward; None if none has.
        records: ids of the records whose keys are kept for opening under it.
        scopes: where keys under it seal.
    """

    __slots__ = (
        "__weakref__",
        "_end_monotonic",
        "_end_time",
        "_serves_monotonic",
        "_serves_time",
        "failures",
        "flight",
        "hurried",
        "name",
        "records",
        "scopes",
        "siblings",
        "state",
        "timer",
        "used",
        "witness",
    )

    def __init__(self, name: LeaseName, sent: Moment) -> None:
        self.name = name
        self.state = LeaseState.ANSWERED
        self.siblings: Any = None  # held, so that they live as long as one of them does
        self.used = False
        self.failures = 0
        self.witness: Witness | None = None
        self.flight: Flight[None] | None = None
        self.timer: Timer | None = None
        self.hurried: float | None = None
        self.records: set[bytes] = set()
        self.scopes: set[Any] = set()
        self._end_monotonic, self._end_time = sent.after(name.seconds)
        self._serves_monotonic, self._serves_time = self._end_monotonic, self._end_time

    @property
    def ended(self) -> bool:
        """Whether it was denied."""
        return self.state is _DENIED

    @property
    def outage(self) -> bool:
        """Whether the last attempt to renew it got no answer."""
        return self.state is LeaseState.UNANSWERED

    def live(self, monotonic: float, time: float, *, strict: bool = False) -> bool:
        """Say whether keys may be used under it at this moment; ``strict`` takes no account of grace."""
        if self.state is _DENIED:
            return False
        if strict:
            return monotonic < self._end_monotonic and time < self._end_time
        return monotonic < self._serves_monotonic and time < self._serves_time

    def renew_at(self, jitter: float) -> float:
        """Return the monotonic seconds at which to renew it in the background: after 70 to 80 % of its time.

        Args:
            jitter: a number from 0 to 1; with 1, the renewal is the earliest.
        """
        return self._end_monotonic - self.name.seconds * (_RENEW_LEFT + _RENEW_SPREAD * jitter)

    @property
    def last_look_at(self) -> float:
        """Monotonic seconds at which it is looked at for the last time: used by then, it is renewed still in time."""
        return self._end_monotonic - self.name.seconds * _LAST_LOOK_LEFT

    def since_success(self, now: Moment) -> float:
        """Return the seconds since the last success was sent, by the clock that says more."""
        end = Moment(self._end_monotonic, self._end_time)
        return max(0.0, end.behind(now) + self.name.seconds)

    def grace_left(self, now: Moment) -> float:
        """Return the seconds until keys under it may no longer be used, by the clock that says less."""
        return max(0.0, -Moment(self._serves_monotonic, self._serves_time).behind(now))

    def succeed(self, sent: Moment) -> None:
        """Take note of a success: a call that was sent at ``sent``."""
        if self.state is _DENIED:
            return
        end = sent.after(self.name.seconds)
        if end.monotonic >= self._end_monotonic:  # equal: the monotonic clock stood still meanwhile
            self._end_monotonic, self._end_time = end
        self.failures = 0
        self._settle(Answer.SUCCESS, 0.0)

    def answer_corrupt(self) -> None:
        """Take note that the KMS is there, but the witness is of no use: there is no grace beyond the lease's own end.

        The next record that opens brings another witness.
        """
        self._settle(Answer.CORRUPT, 0.0)
        self.witness = None

    def miss(self, grace: float) -> None:
        """Take note that no answer came: what is at hand serves for ``grace`` seconds past the lease's own end."""
        self.failures += 1
        self._settle(Answer.NONE, grace)

    def deny(self) -> None:
        """Take note of a refusal: the lease and any grace end now."""
        self.witness = None
        self._settle(Answer.DENIAL, 0.0)

    def end_renewal(self) -> None:
        """Take note that the renewal under way has ended."""
        self.flight = None

    def stop_timer(self) -> None:
        """Cancel the next renewal in the background."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _settle(self, answer: Answer, grace: float) -> None:
        self.state = STATE_AFTER.get((self.state, answer), self.state)
        self._serves_monotonic, self._serves_time = self._end_monotonic + grace, self._end_time + grace
