"""The lease: for how long a master key's last successful call vouches for the keys under it."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, NamedTuple
from weakref import ref

from envelope_codec.keys.clock import Clock, Timer
from envelope_codec.keys.flight import Flight
from envelope_codec.keys.witness import Items, Witness

_LOOKED_AT = 8  # leases of one kin, so that a refusal costs the same however many there are


class Sent(NamedTuple):
    """The moment at which a KMS call was sent: a lease counts from there, not from the reply."""

    monotonic: float
    time: float

    @classmethod
    def now(cls, clock: Clock) -> Sent:
        """To be taken just before a call is sent."""
        return cls(clock.monotonic(), clock.time())


class Kind(NamedTuple):
    """What is known of a call before it is answered.

    Attributes:
        operation: ``unwrap``, or ``wrap`` for roles that may only encrypt.
        master: identity of the `MasterKey` object: another object may have other credentials.
        key_id: the key id that it is asked for; an object may serve several.
        context: the KMS context without the record's id, so with namespace, purpose and whatever else is in it.
    """

    operation: str
    master: int
    key_id: str
    context: Items


class Name(NamedTuple):
    """What one lease vouches for.

    Attributes:
        kind: see above.
        version: the key version that the KMS's success proves; None for none.
        record_id: ``b""``; where no version is proved, the id of the one record that is vouched for.
        seconds: how long a success vouches: key sets may differ.
    """

    kind: Kind
    version: str | None
    record_id: bytes
    seconds: float


class Lease:
    """State of one `Name`. Not locked: the keyring's lock guards every change.

    It is live until the monotonic or the wall clock says that it has ended, whichever is first (the monotonic clock
    may stop while a machine is suspended). Grace extends it while the KMS can't be reached. Grace is counted from the
    last success, so it can't re-arm itself. A denial ends both for good: a later success begins another lease.

    Attributes:
        name: what it vouches for.
        ended: whether it was denied.
        used: whether a payload was opened or sealed under it since its last renewal was sent.
        outage: whether the last attempt to renew it got no answer.
        failures: attempts to renew it that got no answer, since the last success.
        witness: the success that renewals repeat; None where there is nothing to repeat.
        flight: the renewal under way.
        timer: the next renewal in the background.
        hurried: monotonic seconds at which a refusal last brought its renewal forward.
        records: ids of the records whose keys are kept for opening under it.
        places: where keys under it seal.
    """

    __slots__ = (
        "__weakref__",
        "_grace_monotonic",
        "_grace_time",
        "_until_monotonic",
        "_until_time",
        "ended",
        "failures",
        "flight",
        "hurried",
        "kin",
        "name",
        "outage",
        "places",
        "records",
        "timer",
        "used",
        "witness",
    )

    def __init__(self, name: Name, kin: Kin) -> None:
        self.name = name
        self.kin = kin
        self.ended = False
        self.used = False
        self.outage = False
        self.failures = 0
        self.witness: Witness | None = None
        self.flight: Flight[None] | None = None
        self.timer: Timer | None = None
        self.hurried = -math.inf
        self.records: set[bytes] = set()
        self.places: set[Any] = set()
        self._until_monotonic = self._until_time = -math.inf
        self._grace_monotonic = self._grace_time = -math.inf

    def live(self, monotonic: float, time: float, *, strict: bool = False) -> bool:
        """Whether keys may be used under it at these two times; ``strict`` takes no account of grace."""
        if strict:
            return monotonic < self._until_monotonic and time < self._until_time
        return monotonic < self._grace_monotonic and time < self._grace_time

    def renew_at(self, jitter: float) -> float:
        """Monotonic seconds at which to renew it in the background: after 70 to 80 % of its time."""
        return self._until_monotonic - self.name.seconds * (0.2 + 0.1 * jitter)

    def succeed(self, sent: Sent) -> None:
        """A call sent at ``sent`` has succeeded."""
        if self.ended:
            return
        until = sent.monotonic + self.name.seconds
        if until >= self._until_monotonic:  # equal: the monotonic clock stood still meanwhile
            self._until_monotonic = until
            self._until_time = sent.time + self.name.seconds
        self.answered()
        self.failures = 0

    def unanswered(self, grace: float) -> None:
        """A call got no answer: what is at hand serves for ``grace`` seconds past the lease's own end."""
        self.outage = True
        self.failures += 1
        self._grace_monotonic = self._until_monotonic + grace
        self._grace_time = self._until_time + grace

    def answered(self) -> None:
        """The KMS is there: no grace beyond the lease's own end."""
        self.outage = False
        self._grace_monotonic, self._grace_time = self._until_monotonic, self._until_time

    def landed(self) -> None:
        """The renewal under way has ended."""
        self.flight = None

    def deny(self) -> None:
        """The KMS refused: the lease and any grace end now."""
        self.ended = True
        self.outage = False
        self.witness = None
        self._until_monotonic = self._until_time = -math.inf
        self._grace_monotonic = self._grace_time = -math.inf


class Kin:
    """The leases of one `Kind`: a refusal of that kind is a reason to renew one of them."""

    __slots__ = ("__weakref__", "_doubted", "_leases", "kind")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._leases: deque[ref[Lease]] = deque()
        self._doubted: ref[Lease] | None = None

    def add(self, lease: Lease) -> None:
        """Take one in."""
        for _ in range(min(2, len(self._leases))):  # so that those that are gone never are the most
            self._next()
        self._leases.append(ref(lease))

    def doubtful(self, version: str, monotonic: float, time: float, pause: float) -> Lease | None:
        """The lease to renew now after a refusal: live, not being renewed, nor hurried in the last ``pause`` seconds.

        None while the one before is being renewed: refusals, of which there may be any number, must not queue up
        before what others wait for. Of those that it looks at, which are not all, one of ``version`` if it can: which
        one is a guess, and renewing any of them does no harm.
        """
        doubted = self._doubted() if self._doubted is not None else None
        if doubted is not None and doubted.flight is not None and not doubted.ended:
            return None
        found = self._found(version, monotonic, time, pause)
        if found is not None:
            found.hurried = monotonic
            self._doubted = ref(found)
        return found

    def _found(self, version: str, monotonic: float, time: float, pause: float) -> Lease | None:
        found: Lease | None = None
        for _ in range(min(_LOOKED_AT, len(self._leases))):
            lease = self._next()
            if lease is None or lease.witness is None or not lease.live(monotonic, time):
                continue
            if lease.flight is not None or monotonic < lease.hurried + pause:
                continue
            if lease.name.version == version:
                return lease
            found = found or lease
        return found

    def _next(self) -> Lease | None:
        """The one that was looked at longest ago."""
        first = self._leases.popleft()
        lease = first()
        if lease is None or lease.ended:
            return None
        self._leases.append(first)
        return lease
