"""The status of a keyring: what it holds and how it fares at one moment. It has no secrets, and goes into JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

LeaseStage = Literal["live", "grace", "ended", "idle"]
"""State of a group of leases. `LeaseStatus` says what each means."""


class SealingKeyStatus(NamedTuple):
    """A wrapping key that seals, or what is known of a scope that has none.

    Attributes:
        namespace: the Temporal namespace that seals.
        key_id: the master key of the setting ``key`` there; ``""`` if none is configured any more.
        record_id: id of the key's record in hex, as envelopes and the keystore have it; ``""`` if there is no key.
        age: seconds since the key was made; 0.0 if there is none.
        uses: how many payloads it has sealed in this process.
        recipients: how many master keys have wrapped it.
        lacking: how many more were to wrap it, and did not.
        usable: whether it may seal at this moment.
        refused: whether the last answer to the question for another key was a refusal, which is still repeated.
    """

    namespace: str
    key_id: str
    record_id: str
    age: float
    uses: int
    recipients: int
    lacking: int
    usable: bool
    refused: bool


class LeaseStatus(NamedTuple):
    """The leases of one operation, master key and namespace together.

    There are several where key versions or single records have leases of their own. The most telling of them speaks.

    Attributes:
        operation: ``unwrap``, or ``wrap`` for roles that may only encrypt.
        key_id: the master key.
        namespace: the Temporal namespace in the KMS context.
        stage: ``grace`` if one of them is past its own end and serves on, as the KMS gives no answer. Else ``live`` if
            one serves. Else ``ended`` if one is over because the KMS gave no answer for too long. Else ``idle``: they
            ran out while nothing used them, and the next use renews them. Those that the KMS refused are gone.
        since_success: seconds since the success was sent that vouches for the keys: the longest of those that serve, or
            if none serves, the shortest.
        grace_left: seconds until the first grace in use is over; 0.0 if none is in use.
        seconds: for how long a success vouches.
        leases: how many there are.
    """

    operation: str
    key_id: str
    namespace: str
    stage: LeaseStage
    since_success: float
    grace_left: float
    seconds: float
    leases: int


class BreakerStatus(NamedTuple):
    """The circuit breaker of one master key.

    Attributes:
        key_id: the master key.
        state: ``closed`` if it answered when it was last asked; ``open`` if not; ``half_open`` while one caller finds
            out whether it answers again.
    """

    key_id: str
    state: Literal["closed", "open", "half_open"]


class KeyringStatus(NamedTuple):
    """What a keyring holds and how it fares, as `Keyring.status` found it.

    It has no secrets. Its master keys' ids are in it, which may hold account numbers.

    Attributes:
        time: Unix seconds at which it was taken.
        closed: whether the keyring has been closed.
        direct: whether the KMS wraps every data key itself. Then there are no sealing keys.
        sealing_keys: one for each namespace and key set that has sealed.
        leases: one for each operation, master key and namespace that has any.
        breakers: one for each master key that has been asked.
        keys_cached: how many unwrapped wrapping keys are kept for opening.
        foreign_keys_cached: how many data keys of Temporal's proxy are kept.
        keystore_queued: how many records wait to be published in the keystore, while payloads are sealed under them.
        keystore_lag: seconds for which the one that has waited longest has waited; 0.0 if none waits.
    """

    time: float
    closed: bool
    direct: bool
    sealing_keys: tuple[SealingKeyStatus, ...]
    leases: tuple[LeaseStatus, ...]
    breakers: tuple[BreakerStatus, ...]
    keys_cached: int
    foreign_keys_cached: int
    keystore_queued: int
    keystore_lag: float

    def as_dict(self) -> dict[str, Any]:
        """Return the same as dictionaries and lists, with names, for ``json.dumps``."""
        groups = {name: [part._asdict() for part in getattr(self, name)] for name in _GROUPS}
        return {**self._asdict(), **groups}


_GROUPS = ("sealing_keys", "leases", "breakers")
_TELLING: tuple[LeaseStage, ...] = ("grace", "live", "ended", "idle")  # the first speaks for all


def join_leases(one_by_one: Iterable[LeaseStatus]) -> tuple[LeaseStatus, ...]:
    """Put together the leases of each operation, master key and namespace, in the order of these."""
    groups: dict[tuple[str, str, str], LeaseStatus] = {}
    for lease in one_by_one:
        name = lease[:3]
        groups[name] = _join(groups[name], lease) if name in groups else lease
    return tuple(groups[name] for name in sorted(groups))


def _join(one: LeaseStatus, other: LeaseStatus) -> LeaseStatus:
    first, second = sorted((one, other), key=lambda lease: _TELLING.index(lease.stage))
    serving = [lease.since_success for lease in (first, second) if lease.stage in ("grace", "live")]
    graces = [lease.grace_left for lease in (first, second) if lease.stage == "grace"]
    return first._replace(
        since_success=max(serving) if serving else min(first.since_success, second.since_success),
        grace_left=min(graces, default=0.0),
        seconds=min(first.seconds, second.seconds),
        leases=first.leases + second.leases,
    )
