"""Leases, begun by successful calls, renewed in the background while in use, and ended by denials."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from weakref import WeakValueDictionary

from envelope_codec.envelope import CONTEXT_ID, NAMESPACE, SECRET_LENGTH, Purpose, Recipient, Record
from envelope_codec.errors import EnvelopeError, KeyDenied, KmsUnavailable
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.flight import Flight
from envelope_codec.keys.lease import Kin, Kind, Lease, Name, Sent
from envelope_codec.keys.witness import Witness, Wrapped, open_recipient
from envelope_codec.kms import MasterKey

T = TypeVar("T")


class _Call:
    """A call that is under way, and what of its kind was denied since it was sent."""

    __slots__ = ("denials", "ended")

    def __init__(self) -> None:
        self.denials = 0
        self.ended: set[Name] = set()


class Leases:
    """The leases of a keyring.

    Args:
        calls: makes the calls.
        seconds: how long a success vouches, where the key set does not say.
        grace: how much longer while the KMS can't be reached.
        pause: seconds in which refusals bring the renewal of a lease forward once at most.
        wipe: forgets the keys that were used under a lease. Runs in a thread; nothing waits for it.
    """

    def __init__(
        self, calls: KmsCalls, *, seconds: float, grace: float, pause: float, wipe: Callable[[Lease], None]
    ) -> None:
        self._calls = calls
        self._seconds = seconds
        self._grace = grace
        self._pause = pause
        self._wipe = wipe
        # Kept alive by the keys under them and by their timers.
        self._known: WeakValueDictionary[Name, Lease] = WeakValueDictionary()
        self._kin: WeakValueDictionary[Kind, Kin] = WeakValueDictionary()
        self._under_way: dict[Kind, set[_Call]] = {}  # no more than there are threads

    def unwrap(
        self, record: Record, recipient: Recipient, master: MasterKey, seconds: float | None = None
    ) -> tuple[bytes, Lease]:
        """Unwrap one recipient: the key that the record carries, and the lease that this began or renewed.

        Raises:
            KeyDenied, KmsUnavailable: as the provider raised it. No lease ends by that.
            InvalidCiphertext: this recipient is corrupt.
        """
        kind = _kind("unwrap", master, recipient.key_id, record)

        def ask() -> tuple[bytes, Witness]:
            work = lambda: open_recipient(record, recipient, master)  # noqa: E731
            return self._calls.call("unwrap", master, record.namespace, work)

        return self._vouched(kind, ask, record, recipient.key_version, seconds)

    def vouch_by_wrapping(self, record: Record, master: MasterKey, seconds: float | None = None) -> Lease:
        """A lease for a role that may only encrypt: another wrap vouches, now and at each renewal.

        It is none of those that unwrapping renews, since who may encrypt need not be allowed to decrypt.

        Raises:
            EnvelopeError: as the provider raised it.
            KmsUnavailable: since the record was made, the master key got another version or key.
        """
        recipient = record.recipients[0]
        kind = _kind("wrap", master, recipient.key_id, record)
        context = record.kms_context

        def wrap() -> tuple[None, Witness]:
            again = master.wrap(os.urandom(SECRET_LENGTH), dict(context))
            if (again.key_id, again.key_version) != (recipient.key_id, recipient.key_version):
                raise KmsUnavailable("the master key was rotated just now", operation="wrap", key_id=master.key_id)
            return None, Wrapped(master, recipient.key_id, tuple(context.items()), again.key_version)

        def ask() -> tuple[None, Witness]:
            return self._calls.call("wrap", master, record.namespace, wrap)

        return self._vouched(kind, ask, record, recipient.key_version, seconds)[1]

    def renewal(self, leases: Iterable[Lease], tried: set[Lease], deadline: float) -> Flight[None] | None:
        """Renew the first of ``leases`` that is not in ``tried`` and can be renewed; it is joined and put there.

        None if there is none, or if it has just been renewed for somebody else.
        """
        for lease in leases:
            if lease not in tried and lease.witness is not None:
                tried.add(lease)
                return self._renew(lease, deadline)
        return None

    def renew_now(self, leases: Iterable[Lease]) -> None:
        """One attempt to renew each of these, here in this thread."""
        for lease in leases:
            self._renew_once(lease)

    def close(self) -> None:
        """Cancel what is scheduled."""
        with self._calls.lock:
            for lease in list(self._known.values()):
                if lease.timer is not None:
                    lease.timer.cancel()

    # --- a first call -----------------------------------------------------------------------------------------------

    def _vouched(
        self, kind: Kind, ask: Callable[[], tuple[T, Witness]], record: Record, version: str, seconds: float | None
    ) -> tuple[T, Lease]:
        """Ask until the answer counts: the result, and the lease that it vouches under."""
        contested = False
        while True:
            with self._asking(kind) as call:
                sent = Sent.now(self._calls.clock)
                try:
                    result, witness = ask()
                except KeyDenied:
                    self._refused(kind, version)
                    raise
                name = _name(kind, witness, record, self._seconds if seconds is None else seconds)
                with self._calls.lock:
                    lease = self._known.get(name)
                    denied = name in call.ended
                    doubtful = lease is None and call.denials > 0
                    if not denied and (contested or not doubtful):
                        lease = self._begin(lease, name, sent, _repeatable(witness, name, record))
                        if doubtful:  # twice in a row: others' refusals must not keep this record from being opened
                            lease.hurried = self._calls.clock.monotonic()
                        break
                # A denial arrived while this call was under way: ask again rather than believe the older answer.
                contested = contested or doubtful
                del result
        if doubtful:
            self._renew(lease)
        return result, lease

    @contextmanager
    def _asking(self, kind: Kind) -> Iterator[_Call]:
        call = _Call()
        with self._calls.lock:
            self._under_way.setdefault(kind, set()).add(call)
        try:
            yield call
        finally:
            with self._calls.lock:
                under_way = self._under_way[kind]
                under_way.remove(call)
                if not under_way:
                    del self._under_way[kind]

    def _begin(self, lease: Lease | None, name: Name, sent: Sent, witness: Witness | None) -> Lease:
        """Begin a lease or extend it. Called under the lock."""
        if lease is None:
            kin = self._kin.get(name.kind)
            if kin is None:
                kin = self._kin[name.kind] = Kin(name.kind)
            lease = self._known[name] = Lease(name, kin)
            kin.add(lease)
        self._succeed(lease, sent, witness)
        return lease

    def _refused(self, kind: Kind, version: str) -> None:
        """The KMS refused a record, or a lease of this kind: a reason to look whether it refuses more.

        The record alone may be to blame: anyone who can write to Temporal can make up a context or ciphertext that is
        refused. So it ends nothing, and costs one call at most.
        """
        with self._calls.lock:
            for call in self._under_way.get(kind, ()):
                call.denials += 1
            kin = self._kin.get(kind)
            monotonic, time = self._calls.clock.monotonic(), self._calls.clock.time()
            lease = kin.doubtful(version, monotonic, time, self._pause) if kin is not None else None
            flight = self._renewal(lease) if lease is not None else None
        if lease is not None and flight is not None:
            self._calls.fly(flight, lease.landed, urgent=True)

    # --- renewals ---------------------------------------------------------------------------------------------------

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
                flight = self._renewal(lease)
            if deadline is not None:
                flight.join(deadline)
        if new:
            self._calls.fly(flight, lease.landed, urgent=True)
        return flight

    def _renewal(self, lease: Lease) -> Flight[None]:
        """A new one, which is to fly. Called under the lock."""
        flight = lease.flight = Flight(lambda: self._renew_once(lease), -math.inf)
        return flight

    def _renew_once(self, lease: Lease) -> None:
        """One attempt, in a thread. It never fails: the lease says how it went."""
        witness = lease.witness
        if witness is None:
            return
        lease.used = False
        sent = Sent.now(self._calls.clock)
        try:
            self._calls.call(
                witness.operation, witness.master, dict(lease.name.kind.context)[NAMESPACE], witness.repeat
            )
        except KeyDenied:
            self._deny(lease)
        except KmsUnavailable:
            self._unanswered(lease)
        except EnvelopeError:
            with self._calls.lock:
                lease.answered()
                lease.witness = None  # the record it was renewed with is corrupt; the next record that opens renews it
        else:
            with self._calls.lock:
                if not lease.ended:
                    self._succeed(lease, sent, witness)

    def _succeed(self, lease: Lease, sent: Sent, witness: Witness | None) -> None:
        """Called under the lock."""
        lease.succeed(sent)
        lease.witness = witness
        if lease.timer is None and witness is not None:
            self._schedule(lease)

    def _unanswered(self, lease: Lease) -> None:
        """An outage: the lease may go on by its grace, and is renewed as soon as the KMS is back."""
        with self._calls.lock:
            if lease.ended or lease.witness is None:
                return
            lease.unanswered(self._grace)
            if lease.timer is not None:
                lease.timer.cancel()
                lease.timer = None
            clock = self._calls.clock
            if lease.live(clock.monotonic(), clock.time()) and not self._calls.closed:
                delay = self._calls.backoff(lease.failures)
                lease.timer = clock.call_later(delay, lambda: self._due(lease, always=True))

    def _deny(self, lease: Lease) -> None:
        """End a lease. Keys under it test that when they are used; they are wiped in their own time."""
        name = lease.name
        with self._calls.lock:
            if lease.ended:
                return
            lease.deny()
            if self._known.get(name) is lease:
                del self._known[name]
            if lease.timer is not None:
                lease.timer.cancel()
                lease.timer = None
            for call in self._under_way.get(name.kind, ()):
                call.ended.add(name)
        self._calls.fly(Flight(lambda: self._wipe(lease), -math.inf), lambda: None, urgent=True)
        self._refused(name.kind, name.version or "")

    def _schedule(self, lease: Lease) -> None:
        if not self._calls.closed:
            due = lease.renew_at(self._calls.jitter())
            lease.timer = self._calls.clock.call_later(due - self._calls.clock.monotonic(), lambda: self._due(lease))

    def _due(self, lease: Lease, *, always: bool = False) -> None:
        with self._calls.lock:
            lease.timer = None
            if self._calls.closed or lease.witness is None:
                return
            if not always:
                if self._calls.clock.monotonic() < lease.renew_at(1.0):
                    self._schedule(lease)  # it was renewed by another unwrap meanwhile
                    return
                if not lease.used:
                    last = lease.renew_at(-1.5) - self._calls.clock.monotonic()
                    if last > 0:  # used later, it is renewed still in time; else it may lapse
                        lease.timer = self._calls.clock.call_later(last, lambda: self._due(lease))
                    return
        self._renew(lease)


def _kind(operation: str, master: MasterKey, key_id: str, record: Record) -> Kind:
    context = tuple(item for item in record.kms_context.items() if item[0] != CONTEXT_ID)
    return Kind(operation, id(master), key_id, context)


def _name(kind: Kind, witness: Witness, record: Record, seconds: float) -> Name:
    return Name(kind, witness.version, record.id if witness.version is None else b"", seconds)


def _repeatable(witness: Witness, name: Name, record: Record) -> Witness | None:
    """``witness``, where renewals shall repeat it: not for the sake of one payload's data key."""
    return None if name.record_id and record.purpose is Purpose.DATA_KEY else witness
