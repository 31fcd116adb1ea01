"""The inventory of a keyring: reads its state without a lock, and makes a `KeyringStatus` of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

from envelope_codec.envelope import NAMESPACE
from envelope_codec.keys.breaker import BreakerState
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.foreign_keys import ForeignKeys
from envelope_codec.keys.key_maker import KeyMaker
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.lease_register import LeaseRegister
from envelope_codec.keys.moment import Moment
from envelope_codec.keys.opening import OpeningKeys
from envelope_codec.keys.publication import Publication
from envelope_codec.keys.sealing_key import Scope
from envelope_codec.keys.slots import Slot, Slots
from envelope_codec.keys.status import (
    BreakerStatus,
    KeyringStatus,
    LeaseStage,
    LeaseStatus,
    SealingKeyStatus,
    join_leases,
)
from envelope_codec.kms import MasterKey

T = TypeVar("T")

_TRIES = 8  # to copy what other threads change meanwhile

_STATES: dict[BreakerState, Literal["closed", "open", "half_open"]] = {
    BreakerState.CLOSED: "closed",
    BreakerState.OPEN: "open",
    BreakerState.HALF_OPEN: "half_open",
}


class Inventory:
    """Takes the status of a keyring. It asks no KMS, waits for nothing, and never raises.

    No lock is taken: event loops wait for it. So what changes meanwhile may be seen in part as it was before.

    Args:
        calls: has the breakers and the clock.
        register: of the leases.
        slots: where the sealing keys are.
        maker: knows the master keys of a scope.
        opening: the keys for opening.
        foreign: those of Temporal's proxy.
        publication: knows what waits for the keystore.
    """

    def __init__(
        self,
        calls: KmsCalls,
        register: LeaseRegister,
        slots: Slots,
        maker: KeyMaker,
        opening: OpeningKeys,
        foreign: ForeignKeys,
        publication: Publication,
    ) -> None:
        self._calls = calls
        self._register = register
        self._slots = slots
        self._maker = maker
        self._opening = opening
        self._foreign = foreign
        self._publication = publication

    def take(self, *, direct: bool) -> KeyringStatus:
        """Return the status at this moment. ``direct`` says whether the KMS wraps every data key itself."""
        now = Moment.now(self._calls.clock)
        queued, lag = self._waiting(now)
        return KeyringStatus(
            time=now.time,
            closed=self._calls.closed,
            direct=direct,
            sealing_keys=() if direct else tuple(self._sealing_keys(now)),
            leases=join_leases(self._leases(now)),
            breakers=tuple(self._breakers()),
            keys_cached=self._opening.kept,
            foreign_keys_cached=self._foreign.kept,
            keystore_queued=queued,
            keystore_lag=lag,
        )

    def _sealing_keys(self, now: Moment) -> Iterator[SealingKeyStatus]:
        for scope, slot in _copied(lambda: list(self._slots.by_scope.items())):
            yield self._sealing_key(scope, slot, now)

    def _sealing_key(self, scope: Scope, slot: Slot, now: Moment) -> SealingKeyStatus:
        namespace = scope if isinstance(scope, str) else scope[0]
        key, refused = slot.current, slot.is_refused(now.monotonic)
        key_id = self._key_id_of(scope)
        if key is None:
            return SealingKeyStatus(namespace, key_id, "", 0.0, 0, 0, 0, False, refused)
        return SealingKeyStatus(
            namespace=namespace,
            key_id=key_id,
            record_id=key.record.id.hex(),
            age=max(0.0, now.time - key.record.created),
            uses=key.sealed,
            recipients=len(key.record.recipients),
            lacking=len(key.lacks),
            usable=key.is_usable(now),
            refused=refused,
        )

    def _key_id_of(self, scope: Scope) -> str:
        try:
            _, key_set = self._maker.find(scope)
        except Exception:  # whoever made the keyring has said how key sets are found
            return ""
        return _key_id(key_set.key) if key_set is not None else ""

    def _leases(self, now: Moment) -> Iterator[LeaseStatus]:
        for reference in _copied(self._register.known.valuerefs):
            lease = reference()
            if lease is not None and not lease.ended:
                yield _lease_status(lease, now)

    def _breakers(self) -> Iterator[BreakerStatus]:
        for master, breaker in _copied(self._calls.breakers):
            yield BreakerStatus(_key_id(master), _STATES[breaker.state])

    def _waiting(self, now: Moment) -> tuple[int, float]:
        """Return how many records wait for the keystore, and for how many seconds the first has waited."""
        since = _copied(self._publication.waiting_since)
        return len(since), max((moment.behind(now) for moment in since), default=0.0)


def _lease_status(lease: Lease, now: Moment) -> LeaseStatus:
    request, witness = lease.name.request, lease.witness
    key_id = _key_id(witness.master) if witness is not None else request.key_id
    namespace = dict(request.context).get(NAMESPACE, "")
    stage = _stage(lease, now)
    left = lease.grace_left(now) if stage == "grace" else 0.0
    return LeaseStatus(
        request.operation, key_id, namespace, stage, lease.since_success(now), left, lease.name.seconds, 1
    )


def _stage(lease: Lease, now: Moment) -> LeaseStage:
    if lease.live(*now, strict=True):
        return "live"
    if lease.live(*now):
        return "grace"
    return "ended" if lease.outage else "idle"


def _key_id(master: MasterKey) -> str:
    """Return the id of ``master``; ``""`` if its provider fails at that."""
    try:
        return str(master.key_id)
    except Exception:
        return ""


def _copied(copy: Callable[[], list[T]]) -> list[T]:
    """Return a copy of what other threads may be changing."""
    for _ in range(_TRIES):
        try:
            return copy()
        except RuntimeError:  # it changed in size meanwhile
            continue
    return []
