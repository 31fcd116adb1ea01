"""The lease: for how long a master key's last successful unwrap vouches for it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar
from weakref import WeakValueDictionary

from envelope_codec.clock import Clock, Timer
from envelope_codec.envelope import SECRET_LENGTH, Recipient, Record, unlock
from envelope_codec.errors import EnvelopeError, KeyDenied, KmsUnavailable
from envelope_codec.flight import Flight
from envelope_codec.kms import MasterKey, WrappedSecret
from envelope_codec.kmscall import KmsCalls

T = TypeVar("T")


class Sent(NamedTuple):
    """The moment at which a KMS call was sent: a lease counts from there, not from the reply."""

    monotonic: float
    time: float
    generation: int


class Lease:
    """State of one master key version in one namespace. Not locked: the keyring's lock guards every change.

    It is live until the monotonic or the wall clock says that it has ended, whichever is first (the monotonic clock
    may stop while a machine is suspended). Grace extends it while the KMS can't be reached. Grace is counted from the
    last success, so it can't re-arm itself, and a denial ends both.

    Attributes:
        generation: number of denials so far. The result of a call that was sent before the last one is discarded.
        used: whether any key was used under this lease since its last renewal was sent.
        outage: whether the last attempt to renew it got no answer.
        failures: attempts to renew it that got no answer, since the last success.
        witness: one attempt to renew it: unwraps, and checks what comes back. Raises as a provider does.
        flight: the renewal under way.
        timer: the next renewal in the background.
    """

    __slots__ = (
        "__weakref__",
        "_grace_monotonic",
        "_grace_time",
        "_until_monotonic",
        "_until_time",
        "failures",
        "flight",
        "generation",
        "key_id",
        "key_version",
        "namespace",
        "outage",
        "timer",
        "used",
        "witness",
    )

    def __init__(self, key_id: str, key_version: str, namespace: str) -> None:
        self.key_id = key_id
        self.key_version = key_version
        self.namespace = namespace
        self.generation = 0
        self.used = False
        self.outage = False
        self.failures = 0
        self.witness: Callable[[], None] | None = None
        self.flight: Flight[None] | None = None
        self.timer: Timer | None = None
        self._until_monotonic = self._until_time = -math.inf
        self._grace_monotonic = self._grace_time = -math.inf

    def sent(self, clock: Clock) -> Sent:
        """To be taken just before a call is sent."""
        return Sent(clock.monotonic(), clock.time(), self.generation)

    def live(self, monotonic: float, time: float, *, strict: bool = False) -> bool:
        """Whether keys may be used under it at these two times; ``strict`` takes no account of grace."""
        if strict:
            return monotonic < self._until_monotonic and time < self._until_time
        return monotonic < self._grace_monotonic and time < self._grace_time

    @property
    def ended(self) -> bool:
        """Whether there is nothing to renew: it never began, or it was denied."""
        return self._until_monotonic == -math.inf

    def renew_at(self, seconds: float, jitter: float) -> float:
        """Monotonic seconds at which to renew it in the background: after 70 to 80 % of its time."""
        return self._until_monotonic - seconds * (0.2 + 0.1 * jitter)

    def succeed(self, sent: Sent, seconds: float) -> bool:
        """A call sent at ``sent`` has succeeded. False: a denial arrived meanwhile, so the result does not count."""
        if sent.generation != self.generation:
            return False
        if sent.monotonic + seconds >= self._until_monotonic:  # equal: the monotonic clock stood still meanwhile
            self._until_monotonic = sent.monotonic + seconds
            self._until_time = sent.time + seconds
        self._grace_monotonic, self._grace_time = self._until_monotonic, self._until_time
        self.outage = False
        self.failures = 0
        return True

    def unanswered(self, grace: float) -> None:
        """A call got no answer: what is at hand serves for ``grace`` seconds past the lease's own end."""
        self.outage = True
        self.failures += 1
        self._grace_monotonic = self._until_monotonic + grace
        self._grace_time = self._until_time + grace

    def answered(self) -> None:
        """The KMS is there, and did not vouch: no grace beyond the lease's own end."""
        self.outage = False
        self._grace_monotonic, self._grace_time = self._until_monotonic, self._until_time

    def landed(self) -> None:
        """The renewal under way has ended."""
        self.flight = None

    def vouched_after(self, sent: Sent, seconds: float) -> bool:
        """Whether a call that was sent later than this one has succeeded."""
        return self._until_monotonic > sent.monotonic + seconds

    def deny(self) -> None:
        """The KMS refused: the lease and any grace end now, and calls under way count no more."""
        self.generation += 1
        self.outage = False
        self._until_monotonic = self._until_time = -math.inf
        self._grace_monotonic = self._grace_time = -math.inf


class Leases:
    """The leases of a keyring: begun, renewed in the background while in use, and ended.

    Args:
        calls: makes the calls.
        seconds: how long a success vouches.
        grace: how much longer while the KMS can't be reached.
        on_denied: called after a denial; drops what no lease vouches for any more.
    """

    def __init__(self, calls: KmsCalls, *, seconds: float, grace: float, on_denied: Callable[[], None]) -> None:
        self._calls = calls
        self._seconds = seconds
        self._grace = grace
        self._on_denied = on_denied
        # Kept alive by the keys under them and by their timers, so that made-up key versions leave nothing behind.
        self._known: WeakValueDictionary[tuple[str, ...], Lease] = WeakValueDictionary()

    def unwrap(self, record: Record, recipient: Recipient, master: MasterKey) -> tuple[bytes, Lease]:
        """Unwrap one recipient: the key that the record carries, and the lease that this began or renewed.

        Raises:
            KeyDenied, KmsUnavailable: as the provider raised it; the lease has taken note.
            InvalidCiphertext: this recipient is corrupt.
        """
        wrapped = WrappedSecret(recipient.key_id, recipient.key_version, recipient.ciphertext)

        def attempt() -> bytes:
            return self._calls.call(
                "unwrap", master, record.namespace, lambda: unlock(record, master.unwrap(wrapped, record.kms_context))
            )

        return self._vouched("unwrap", recipient.key_id, recipient.key_version, record.namespace, attempt)

    def vouch_by_wrapping(self, record: Record, master: MasterKey) -> Lease:
        """A lease for a role that may only encrypt: another wrap vouches, now and at each renewal.

        It is none of those that unwrapping renews, since who may encrypt need not be allowed to decrypt.
        """

        def attempt() -> None:
            secret, context = os.urandom(SECRET_LENGTH), record.kms_context
            self._calls.call("wrap", master, record.namespace, lambda: master.wrap(secret, context))

        return self._vouched("wrap", record.recipients[0].key_id, "", record.namespace, attempt)[1]

    def _vouched(
        self, operation: str, key_id: str, key_version: str, namespace: str, attempt: Callable[[], T]
    ) -> tuple[T, Lease]:
        with self._calls.lock:
            name = (operation, key_id, key_version, namespace)
            lease = self._known.get(name)
            if lease is None:
                lease = self._known[name] = Lease(key_id, key_version, namespace)
        while True:
            sent = lease.sent(self._calls.clock)
            try:
                result = attempt()
            except KeyDenied:
                self._refused(lease, sent)
                raise
            except KmsUnavailable:
                self._unanswered(lease)
                raise
            if self._succeed(lease, sent, lambda: _ignore(attempt())):
                return result, lease
            # A denial arrived while this call was under way: ask again rather than believe the older answer.

    def _refused(self, lease: Lease, sent: Sent) -> None:
        """A record was refused, and the lease ends unless its witness is still opened.

        The record alone may be to blame: anyone who can write to Temporal can make up a key version or a context that
        the KMS refuses, and must not be able to empty the keyring.
        """
        witness = lease.witness
        if witness is not None and not lease.ended:
            if lease.vouched_after(sent, self._seconds):
                return
            asked = lease.sent(self._calls.clock)
            try:
                witness()
            except EnvelopeError:
                pass  # no proof that the master key still serves, and one that it may not
            else:
                self._succeed(lease, asked, witness)
                return
        self._deny(lease)

    def renewal(self, leases: Iterable[Lease], tried: set[Lease], deadline: float) -> Flight[None] | None:
        """Renew the first of ``leases`` that is not in ``tried`` and can be renewed; it is joined and put there.

        None if there is none, or if it has just been renewed for somebody else.
        """
        for lease in leases:
            if lease not in tried and not lease.ended and lease.witness is not None:
                tried.add(lease)
                return self._renew(lease, deadline)
        return None

    def renew_now(self, leases: Iterable[Lease]) -> None:
        """One attempt to renew each of these, here in this thread."""
        for lease in leases:
            if not lease.ended:
                self._renew_once(lease)

    def close(self) -> None:
        """Cancel what is scheduled."""
        with self._calls.lock:
            for lease in list(self._known.values()):
                if lease.timer is not None:
                    lease.timer.cancel()

    # --- in the background ----------------------------------------------------------------------------------------

    def _renew(self, lease: Lease, deadline: float | None = None) -> Flight[None] | None:
        """The renewal under way or a new one, joined where there is a caller with a deadline.

        Such a caller gets None where another renewal has just landed.
        """
        with self._calls.lock:
            flight = lease.flight
            new = flight is None
            if flight is None:
                clock = self._calls.clock
                if deadline is not None and lease.live(clock.monotonic(), clock.time()):
                    return None
                flight = lease.flight = Flight(lambda: self._renew_once(lease), -math.inf)
            if deadline is not None:
                flight.join(deadline)
        if new:
            self._calls.fly(flight, lease.landed, urgent=True)
        return flight

    def _renew_once(self, lease: Lease) -> None:
        """One attempt, in a thread. It never fails: the lease says how it went."""
        witness = lease.witness
        if witness is None:
            return
        lease.used = False
        sent = lease.sent(self._calls.clock)
        try:
            witness()
        except KeyDenied:
            self._deny(lease)
        except KmsUnavailable:
            self._unanswered(lease, renewing=True)
        except EnvelopeError:
            with self._calls.lock:
                lease.answered()
                lease.witness = None  # the record it was renewed with is corrupt; the next record that opens renews it
        else:
            self._succeed(lease, sent, witness)

    def _succeed(self, lease: Lease, sent: Sent, witness: Callable[[], None]) -> bool:
        with self._calls.lock:
            if not lease.succeed(sent, self._seconds):
                return False
            lease.witness = witness
            if lease.timer is None:
                self._schedule(lease)
            return True

    def _unanswered(self, lease: Lease, *, renewing: bool = False) -> None:
        """An outage: the lease may go on by its grace, and is renewed as soon as the KMS is back."""
        with self._calls.lock:
            if lease.ended or lease.witness is None:  # without a witness nobody would notice the end of the outage
                return
            if not renewing and self._calls.clock.monotonic() < lease.renew_at(self._seconds, 1.0):
                return  # a KMS that throttles is not asked once more by each of its refusals: the renewal comes in time
            known = lease.outage
            lease.unanswered(self._grace)
            if known and not renewing:
                return
            if lease.timer is not None:
                lease.timer.cancel()
                lease.timer = None
            clock = self._calls.clock
            if lease.live(clock.monotonic(), clock.time()) and not self._calls.closed:
                delay = self._calls.backoff(lease.failures)
                lease.timer = clock.call_later(delay, lambda: self._due(lease, always=True))

    def _deny(self, lease: Lease) -> None:
        with self._calls.lock:
            lease.deny()
            if lease.timer is not None:
                lease.timer.cancel()
                lease.timer = None
        self._on_denied()

    def _schedule(self, lease: Lease) -> None:
        if not self._calls.closed:
            due = lease.renew_at(self._seconds, self._calls.jitter())
            lease.timer = self._calls.clock.call_later(due - self._calls.clock.monotonic(), lambda: self._due(lease))

    def _due(self, lease: Lease, *, always: bool = False) -> None:
        with self._calls.lock:
            lease.timer = None
            if self._calls.closed or lease.ended:
                return
            if not always:
                if self._calls.clock.monotonic() < lease.renew_at(self._seconds, 1.0):
                    self._schedule(lease)  # it was renewed by another unwrap meanwhile
                    return
                if not lease.used:
                    last = lease.renew_at(self._seconds, -1.5) - self._calls.clock.monotonic()
                    if last > 0:  # used later, it is renewed still in time; else it may lapse
                        lease.timer = self._calls.clock.call_later(last, lambda: self._due(lease))
                    return
        self._renew(lease)


def _ignore(_: object) -> None:
    return None
