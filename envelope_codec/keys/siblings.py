"""Siblings: the leases of one request. A refusal of that request is a reason to renew one of them."""

from __future__ import annotations

from collections import deque
from weakref import ref

from envelope_codec.keys.lease import Lease

_LOOKED_AT = 8  # leases, so that a refusal costs the same however many there are


class Siblings:
    """The leases of one request. The keyring's lock guards every change."""

    __slots__ = ("__weakref__", "_doubted", "_leases")

    def __init__(self) -> None:
        self._leases: deque[ref[Lease]] = deque()
        self._doubted: ref[Lease] | None = None

    def add(self, lease: Lease) -> None:
        """Take in one more."""
        for _ in range(min(2, len(self._leases))):  # so that those that are gone never are the most
            self._next()
        lease.siblings = self
        self._leases.append(ref(lease))

    def doubt(self, version: str, monotonic: float, time: float, pause: float) -> Lease | None:
        """Choose the lease to renew now after a refusal: a live one that has a witness and is not being renewed.

        None while the lease that was chosen last is being renewed. There may be any number of refusals, and they must
        not queue up before what others wait for. The choice is a guess, and renewing any lease does no harm.

        Args:
            version: of the key version that the refused record names. A lease of the same version is preferred.
            monotonic: seconds of the monotonic clock now.
            time: Unix seconds now.
            pause: seconds for which a lease that was chosen is not chosen again.
        """
        doubted = self._doubted() if self._doubted is not None else None
        if doubted is not None and doubted.flight is not None and not doubted.ended:
            return None
        found = self._find(version, monotonic, time, pause)
        if found is not None:
            found.hurried = monotonic
            self._doubted = ref(found)
        return found

    def _find(self, version: str, monotonic: float, time: float, pause: float) -> Lease | None:
        found: Lease | None = None
        for _ in range(min(_LOOKED_AT, len(self._leases))):
            lease = self._next()
            if lease is None or not may_hurry(lease, monotonic, time, pause):
                continue
            if lease.name.version == version:
                return lease
            found = found or lease
        return found

    def _next(self) -> Lease | None:
        """Return the lease that was looked at longest ago; None if it is gone or has ended."""
        first = self._leases.popleft()
        lease = first()
        if lease is None or lease.ended:
            return None
        self._leases.append(first)
        return lease


def may_hurry(lease: Lease, monotonic: float, time: float, pause: float) -> bool:
    """Decide whether a refusal may bring the renewal of ``lease`` forward, at this moment."""
    if lease.witness is None or lease.flight is not None or not lease.live(monotonic, time):
        return False
    return lease.hurried is None or monotonic >= lease.hurried + pause
