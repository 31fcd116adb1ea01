"""Renewals of leases: in the background while they are in use, at once after a refusal; and their ends."""

from __future__ import annotations

from collections.abc import Callable

from envelope_codec.envelope import NAMESPACE
from envelope_codec.errors import EnvelopeError, KeyDenied, KmsUnavailable
from envelope_codec.keys.calls import KmsCalls, Threads
from envelope_codec.keys.decisions import Renewal, decide_renewal
from envelope_codec.keys.flight import Flight
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.lease_name import Request
from envelope_codec.keys.lease_register import LeaseRegister
from envelope_codec.keys.moment import Moment
from envelope_codec.keys.witness import Witness


class Renewals:
    """Renews leases, and ends those that are denied.

    Args:
        calls: makes the calls.
        register: of the leases.
        grace: how many seconds longer a lease serves while the KMS can't be reached.
        pause: seconds in which refusals bring the renewal of a lease forward once at most.
        wipe: forgets the keys that were used under a lease. Runs in a thread; nothing waits for it.
        renewed: told of each lease that was renewed. Must be quick.
    """

    def __init__(
        self,
        calls: KmsCalls,
        register: LeaseRegister,
        *,
        grace: float,
        pause: float,
        wipe: Callable[[Lease], None],
        renewed: Callable[[Lease], None] = lambda lease: None,
    ) -> None:
        self._calls = calls
        self._clock = calls.clock
        self._register = register
        self._grace = grace
        self._pause = pause
        self._wipe = wipe
        self._renewed = renewed

    def renew(self, lease: Lease) -> None:
        """Renew ``lease`` in the background, unless that is under way."""
        with self._calls.lock:
            flight = None if lease.flight is not None else self._new_flight(lease)
        if flight is not None:
            self._fly(lease, flight)

    def renew_for(self, lease: Lease, deadline: float) -> Flight[None] | None:
        """Renew ``lease`` for a caller: return the renewal under way or a new one, joined.

        None if another renewal has just landed.
        """
        with self._calls.lock:
            flight = lease.flight
            new = flight is None
            if flight is None:
                if lease.live(*Moment.now(self._clock)):
                    return None
                flight = self._new_flight(lease)
            flight.join(deadline)
        if new:
            self._fly(lease, flight)
        return flight

    def renew_once(self, lease: Lease) -> None:
        """Make one attempt, here in this thread. It never fails: the lease says how it went."""
        witness = lease.witness
        if witness is None:
            return
        lease.used = False
        sent = Moment.now(self._clock)
        namespace = dict(lease.name.request.context)[NAMESPACE]
        try:
            self._calls.call(witness.operation, witness.master, namespace, witness.repeat)
        except KeyDenied:
            self._deny(lease)
        except KmsUnavailable:
            self._miss(lease)
        except EnvelopeError:
            with self._calls.lock:
                lease.answer_corrupt()
        else:
            with self._calls.lock:
                if not lease.ended:
                    self.succeed(lease, sent, witness)
            self._renewed(lease)

    def succeed(self, lease: Lease, sent: Moment, witness: Witness | None) -> None:
        """Extend ``lease`` by a call that was sent at ``sent``. Called under the lock."""
        lease.succeed(sent)
        lease.witness = witness
        if lease.timer is None and witness is not None:
            self._schedule(lease)

    def doubt(self, request: Request, version: str) -> None:
        """Look whether the KMS refuses more, after it has refused a record or a lease of this request.

        The record alone may be to blame: anyone who can write to Temporal can make up a context or ciphertext that is
        refused. So a refusal ends nothing, and costs one call at most.
        """
        with self._calls.lock:
            self._register.count_refusal(request)
            lease = self._register.doubt(request, version, Moment.now(self._clock), self._pause)
            flight = self._new_flight(lease) if lease is not None else None
        if lease is not None and flight is not None:
            self._fly(lease, flight)

    def close(self) -> None:
        """Cancel what is scheduled."""
        with self._calls.lock:
            for lease in list(self._register.known.values()):
                if lease.timer is not None:
                    lease.timer.cancel()

    def _new_flight(self, lease: Lease) -> Flight[None]:
        """Return a new renewal, which is to fly. Called under the lock."""
        flight = lease.flight = Flight(lambda: self.renew_once(lease))
        return flight

    def _fly(self, lease: Lease, flight: Flight[None]) -> None:
        self._calls.fly(flight, lease.end_renewal, threads=Threads.URGENT)

    def _miss(self, lease: Lease) -> None:
        """Give ``lease`` its grace, as there is an outage, and renew it as soon as the KMS is back."""
        with self._calls.lock:
            if lease.ended or lease.witness is None:
                return
            lease.miss(self._grace)
            lease.stop_timer()
            if lease.live(*Moment.now(self._clock)) and not self._calls.closed:
                delay = self._calls.backoff(lease.failures)
                lease.timer = self._clock.call_later(delay, lambda: self._fire(lease, retries=True))

    def _deny(self, lease: Lease) -> None:
        """End ``lease``. Keys under it notice that when they are used, and are wiped in the background."""
        with self._calls.lock:
            if lease.ended:
                return
            lease.deny()
            lease.stop_timer()
            self._register.end(lease)
        self._calls.fly(Flight(lambda: self._wipe(lease)), lambda: None, threads=Threads.URGENT)
        self.doubt(lease.name.request, lease.name.version or "")

    def _schedule(self, lease: Lease) -> None:
        if not self._calls.closed:
            self._schedule_at(lease, lease.renew_at(self._calls.jitter()))

    def _schedule_at(self, lease: Lease, monotonic: float) -> None:
        lease.timer = self._clock.call_later(monotonic - self._clock.monotonic(), lambda: self._fire(lease))

    def _fire(self, lease: Lease, *, retries: bool = False) -> None:
        """Do what is due for ``lease`` when its timer fires."""
        with self._calls.lock:
            lease.timer = None
            if self._calls.closed or lease.witness is None:
                return
            now = self._clock.monotonic()
            decision = decide_renewal(
                retries=retries,
                early=now < lease.renew_at(1.0),
                used=lease.used,
                near_end=now >= lease.last_look_at,
            )
            if decision is Renewal.RESCHEDULE:
                self._schedule(lease)
            elif decision is Renewal.LOOK_AGAIN:
                self._schedule_at(lease, lease.last_look_at)
        if decision is Renewal.RENEW:
            self.renew(lease)
