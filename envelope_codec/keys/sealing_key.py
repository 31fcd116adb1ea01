"""A key to seal with: for one payload, or a wrapping key for many."""

from __future__ import annotations

import itertools
import math
from enum import Enum
from typing import Any, NamedTuple

from envelope_codec.envelope import Record
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.moment import Moment
from envelope_codec.keys.trial import Lack

_RIPE_SHARE = 0.9  # of its age or of its payloads, after which a wrapping key is ripe
_RIPE_SPREAD = 0.1  # by so much, some keys are ripe before others

Scope = str | tuple[str, KeySet]
"""A scope of sealing keys: a namespace with its usual master keys, or with others. Each has a key of its own."""


class Wrapped(NamedTuple):
    """A key that the KMS has wrapped.

    Attributes:
        record: carries the key.
        key: a wrapping key, or in direct mode a data key.
        leases: vouch for a wrapping key. A data key has none.
        lacks: the master keys that were to wrap the key and did not.
    """

    record: Record
    key: bytes
    leases: tuple[Lease, ...]
    lacks: tuple[Lack, ...]

    def __repr__(self) -> str:
        return f"Wrapped({self.record.id.hex()})"  # a secret has no repr


class SealingKey:
    """A key to seal with. In direct mode it seals one payload.

    Attributes:
        record: carries the key.
        key: a wrapping key, or in direct mode a data key.
        lacks: the master keys that were to wrap the key and did not.
        template: for the codec, to keep a payload in.
    """

    __slots__ = ("key", "lacks", "record", "template")

    def __init__(self, wrapped: Wrapped) -> None:
        self.record = wrapped.record
        self.key = wrapped.key
        self.lacks = wrapped.lacks
        self.template: Any = None


class Term(NamedTuple):
    """For how long, and for how many payloads, a wrapping key may seal.

    Attributes:
        due: the moment at which the key is too old.
        ripe_at: monotonic seconds from which on the next key is wanted.
        max_payloads: how many payloads the key may seal.
        ripe_after: the number of the payload from which on the next key is wanted.
    """

    due: Moment
    ripe_at: float
    max_payloads: int
    ripe_after: float

    @classmethod
    def begin(cls, begun: Moment, max_age: float, max_payloads: int, jitter: float) -> Term:
        """Return the term of a key that was asked for at ``begun``.

        Keys that were made at the same time, and processes with equal load, are not to be replaced at the same time.

        Args:
            begun: when the first call was sent.
            max_age: seconds.
            max_payloads: how many payloads the key may seal.
            jitter: a number from 0 to 1: with 1, the next key is wanted the earliest, after 80 % of either.
        """
        share = _RIPE_SHARE - _RIPE_SPREAD * jitter
        return cls(begun.after(max_age), begun.monotonic + max_age * share, max_payloads, max_payloads * share)


class Stage(Enum):
    """Stage of a wrapping key, from its first payload to its last. `STAGE_AFTER` has every change."""

    FRESH = "seals, and no next key is wanted"
    RIPE = "seals until there is a next key, whichever that is"
    SPENT = "has sealed its number of payloads, and seals no more"
    OVERDRAWN = "seals beyond its number of payloads, as there is an outage and no next key"


class Turn(Enum):
    """An event that moves a wrapping key from one stage to the next."""

    RIPEN = "most of its time is over, most of its payloads are sealed, or a new key was asked for"
    SPEND = "a payload came after its last one"
    OVERDRAW = "in an outage it goes on although it is due"


STAGE_AFTER: dict[tuple[Stage, Turn], Stage] = {
    (Stage.FRESH, Turn.RIPEN): Stage.RIPE,
    (Stage.FRESH, Turn.SPEND): Stage.SPENT,
    (Stage.RIPE, Turn.SPEND): Stage.SPENT,
    (Stage.FRESH, Turn.OVERDRAW): Stage.RIPE,  # too old, with payloads left: those still count
    (Stage.SPENT, Turn.OVERDRAW): Stage.OVERDRAWN,
}
"""The stage that follows. Where a pair is missing, the stage stays. No key becomes fresh again."""


class AtNextUse(Enum):
    """Task of the next payload, besides being sealed."""

    NOTHING = "nothing, until most of the payloads are sealed"
    PREPARE = "the next key is prepared: its time came while this one was not in use"
    TRY = "trials of the lacking master keys begin: they wait until the key is used"
    WAIT = "nothing: a timer asks for the next key again, and payloads do not"


# Before Python 3.12, looking up an enum's member is slow, and these are looked up for each payload.
_SPENT = Stage.SPENT


class WrappingKey(SealingKey):
    """A wrapping key that seals. Not locked: each change is one assignment.

    Attributes:
        leases: it seals only while one of these is live.
        term: for how long it may seal. An outage may extend that.
        prepare_from: the number of the payload from which on each one asks for the next key.
        stage: how far it has got.
        at_next_use: what the next payload sets off.
        sealed: how many payloads it has sealed. Threads at the same moment may leave it behind by a few.
    """

    __slots__ = (
        "_due_monotonic",
        "_due_time",
        "_numbers",
        "_spent_at",
        "at_next_use",
        "leases",
        "prepare_from",
        "sealed",
        "stage",
        "term",
    )

    def __init__(self, wrapped: Wrapped, term: Term) -> None:
        super().__init__(wrapped)
        self.leases = wrapped.leases
        self.term = term
        self.prepare_from = term.ripe_after
        self.stage = Stage.FRESH
        self.at_next_use = AtNextUse.NOTHING
        self.sealed = 0
        self._due_monotonic, self._due_time = term.due
        self._spent_at: Moment | None = None
        self._numbers = itertools.count(1)  # next() is atomic, += is not

    @property
    def is_used(self) -> bool:
        """Whether it has sealed anything."""
        return self.sealed > 0

    @property
    def due(self) -> Moment:
        """The moment from which on it is too old to seal."""
        return Moment(self._due_monotonic, self._due_time)

    def count(self) -> int:
        """Count one more payload: return its number, from 1."""
        self.sealed = number = next(self._numbers)
        return number

    def is_due(self, monotonic: float, time: float) -> bool:
        """Say whether it is too old to seal at this moment, or has sealed enough."""
        return monotonic >= self._due_monotonic or time >= self._due_time or self.stage is _SPENT

    def live_lease(self, monotonic: float, time: float) -> Lease | None:
        """Return a lease of it that is live at this moment."""
        for lease in self.leases:
            if lease.live(monotonic, time):
                return lease
        return None

    def is_usable(self, now: Moment) -> bool:
        """Say whether it may seal at this moment."""
        return not self.is_due(*now) and self.live_lease(*now) is not None

    def is_denied(self) -> bool:
        """Say whether all of its leases were denied."""
        return all(lease.ended for lease in self.leases)

    def ripen(self) -> None:
        """Have it replaced by whatever next key there is."""
        self._turn(Turn.RIPEN)

    def spend(self) -> None:
        """End it: it has sealed as many payloads as it may."""
        self._turn(Turn.SPEND)

    def overdue(self, now: Moment) -> float:
        """Return for how many seconds it has been due by its own term, whatever an outage has added. Negative before.

        What has sealed enough counts from when that was found in an outage.
        """
        first = self.term.due.behind(now)
        return first if self._spent_at is None else max(first, self._spent_at.behind(now))

    def extend(self, now: Moment, seconds: float, grace: float) -> bool:
        """In an outage, let it seal for so many seconds from ``now`` on, past its age and number of payloads.

        Args:
            now: this moment.
            seconds: until it is extended again.
            grace: it goes on for no longer than this after it was first due; what it has had of that is gone for good.
                Infinite in an outage of the KMS, in which the leases end it.

        Returns:
            Whether any of the grace is left.
        """
        if self.stage is _SPENT and self._spent_at is None:
            self._spent_at = now
        end = now.after(min(seconds, grace - self.overdue(now)))
        if end.monotonic <= now.monotonic:
            self._due_monotonic, self._due_time = min(self._due_monotonic, now.monotonic), min(self._due_time, now.time)
            return False
        if self.is_due(*now):
            self._turn(Turn.OVERDRAW)
        if self._spent_at is None or math.isinf(grace):
            end = Moment(max(self._due_monotonic, end.monotonic), max(self._due_time, end.time))
        self._due_monotonic, self._due_time = end
        return True

    def _turn(self, turn: Turn) -> None:
        self.stage = STAGE_AFTER.get((self.stage, turn), self.stage)
