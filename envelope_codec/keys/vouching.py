"""Vouching: successful KMS calls begin and renew leases."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TypeVar

from envelope_codec.envelope import SECRET_LENGTH, Purpose, Recipient, Record
from envelope_codec.errors import KeyDenied, KmsUnavailable
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.decisions import believe
from envelope_codec.keys.flight import Flight
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.lease_name import LeaseName, Request
from envelope_codec.keys.lease_register import LeaseRegister
from envelope_codec.keys.moment import Moment
from envelope_codec.keys.renewals import Renewals
from envelope_codec.keys.witness import Witness, WrapWitness, complete_recipient, open_recipient
from envelope_codec.kms import MasterKey

T = TypeVar("T")


class Leases:
    """The leases of a keyring.

    Args:
        calls: makes the calls.
        seconds: how long a success vouches, where the key set does not say.
        grace: how many seconds longer a lease serves while the KMS can't be reached.
        pause: seconds in which refusals bring the renewal of a lease forward once at most.
        wipe: forgets the keys that were used under a lease. Runs in a thread; nothing waits for it.
        renewed: told of each lease that was renewed. Must be quick.

    Attributes:
        register: of the leases.
        renewals: of the leases.
    """

    def __init__(
        self,
        calls: KmsCalls,
        *,
        seconds: float,
        grace: float,
        pause: float,
        wipe: Callable[[Lease], None],
        renewed: Callable[[Lease], None] = lambda lease: None,
    ) -> None:
        self._calls = calls
        self._clock = calls.clock
        self._seconds = seconds
        self.register = LeaseRegister(calls)
        self.renewals = Renewals(calls, self.register, grace=grace, pause=pause, wipe=wipe, renewed=renewed)

    def unwrap(
        self, record: Record, recipient: Recipient, master: MasterKey, seconds: float | None = None
    ) -> tuple[bytes, Lease]:
        """Unwrap one recipient: return the key that the record carries, and the lease that this began or renewed.

        Raises:
            KeyDenied, KmsUnavailable: as the provider raised it. No lease ends by that.
            InvalidCiphertext: this recipient is corrupt.
        """
        request = Request.of("unwrap", master, recipient.key_id, record)

        def ask() -> tuple[bytes, Witness]:
            work = lambda: open_recipient(record, recipient, master)  # noqa: E731
            return self._calls.call("unwrap", master, record.namespace, work)

        return self._vouch(request, ask, record, recipient.key_version, seconds)

    def unwrap_new(self, record: Record, master: MasterKey, seconds: float | None = None) -> tuple[Recipient, Lease]:
        """Unwrap a record that ``master`` has just made: return its recipient, complete, and the lease.

        Raises as `unwrap`.
        """
        recipient = record.recipients[0]
        request = Request.of("unwrap", master, recipient.key_id, record)

        def ask() -> tuple[Recipient, Witness]:
            work = lambda: complete_recipient(record, master)  # noqa: E731
            return self._calls.call("unwrap", master, record.namespace, work)

        return self._vouch(request, ask, record, recipient.key_version, seconds)

    def vouch_by_wrapping(self, record: Record, master: MasterKey, seconds: float | None = None) -> Lease:
        """Return a lease for a role that may only encrypt: another wrap vouches, now and at each renewal.

        It is none of those that unwrapping renews, since who may encrypt need not be allowed to decrypt.

        Raises:
            EnvelopeError: as the provider raised it.
            KmsUnavailable: since the record was made, the master key got another version or key.
        """
        recipient = record.recipients[0]
        request = Request.of("wrap", master, recipient.key_id, record)
        context = record.kms_context

        def wrap() -> tuple[None, Witness]:
            again = master.wrap(os.urandom(SECRET_LENGTH), dict(context))
            if (again.key_id, again.key_version) != (recipient.key_id, recipient.key_version):
                raise KmsUnavailable("the master key was rotated just now", operation="wrap", key_id=master.key_id)
            return None, WrapWitness(master, recipient.key_id, tuple(context.items()), again.key_version)

        def ask() -> tuple[None, Witness]:
            return self._calls.call("wrap", master, record.namespace, wrap)

        return self._vouch(request, ask, record, recipient.key_version, seconds)[1]

    def renew_first(self, leases: Iterable[Lease], tried: set[Lease], deadline: float) -> Flight[None] | None:
        """Renew the first of ``leases`` that is not in ``tried`` and can be renewed. Join it; add it to ``tried``.

        None if there is none, or if it has just been renewed for somebody else.
        """
        for lease in leases:
            if lease not in tried and lease.witness is not None:
                tried.add(lease)
                return self.renewals.renew_for(lease, deadline)
        return None

    def renew_now(self, leases: Iterable[Lease]) -> None:
        """Make one attempt to renew each of these, here in this thread."""
        for lease in leases:
            self.renewals.renew_once(lease)

    def close(self) -> None:
        """Cancel what is scheduled."""
        self.renewals.close()

    def _vouch(
        self,
        request: Request,
        ask: Callable[[], tuple[T, Witness]],
        record: Record,
        version: str,
        seconds: float | None,
    ) -> tuple[T, Lease]:
        """Ask until the answer counts: return the result, and the lease that it vouches under.

        A refusal that arrives while the call is under way makes the answer doubtful: the KMS is asked again.
        """
        contested = False
        while True:
            with self.register.call_under_way(request) as call:
                sent = Moment.now(self._clock)
                try:
                    result, witness = ask()
                except KeyDenied:
                    self.renewals.doubt(request, version)
                    raise
                name = LeaseName.of(request, witness, record, self._seconds if seconds is None else seconds)
                with self._calls.lock:
                    known = self.register.known.get(name)
                    doubtful = known is None and call.denials > 0
                    if believe(denied=name in call.ended, doubtful=doubtful, contested=contested):
                        lease = self._hold(known, name, sent, _repeatable(witness, name, record))
                        if doubtful:
                            lease.hurried = self._clock.monotonic()
                        break
                contested = contested or doubtful
                del result
        if doubtful:
            self.renewals.renew(lease)
        return result, lease

    def _hold(self, lease: Lease | None, name: LeaseName, sent: Moment, witness: Witness | None) -> Lease:
        """Begin a lease, or extend the one that there is. Called under the lock."""
        held = lease or self.register.begin(name, sent)
        self.renewals.succeed(held, sent, witness)
        return held


def _repeatable(witness: Witness, name: LeaseName, record: Record) -> Witness | None:
    """Return ``witness``, where renewals shall repeat it: not for the sake of one payload's data key."""
    return None if name.record_id and record.purpose is Purpose.DATA_KEY else witness
