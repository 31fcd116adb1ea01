"""The register of leases, and of the calls under way that may begin some."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.lease_name import LeaseName, Request
from envelope_codec.keys.moment import Moment
from envelope_codec.keys.siblings import Siblings


class CallUnderWay:
    """A call that is under way, and what was refused of the same request since it was sent.

    Attributes:
        denials: how many records or leases.
        ended: the leases among them.
    """

    __slots__ = ("denials", "ended")

    def __init__(self) -> None:
        self.denials = 0
        self.ended: set[LeaseName] = set()


class LeaseRegister:
    """The leases of a keyring by name. All but `call_under_way` is called under the lock of the calls.

    Args:
        calls: has the lock.

    Attributes:
        known: the leases. The keys under them and their timers keep them alive.
        under_way: the calls under way, by request. There are no more than threads.
    """

    def __init__(self, calls: KmsCalls) -> None:
        self._calls = calls
        self.known: WeakValueDictionary[LeaseName, Lease] = WeakValueDictionary()
        self.under_way: dict[Request, set[CallUnderWay]] = {}
        self._siblings: WeakValueDictionary[Request, Siblings] = WeakValueDictionary()

    @contextmanager
    def call_under_way(self, request: Request) -> Iterator[CallUnderWay]:
        """Inside, a call of this request is under way."""
        call = CallUnderWay()
        with self._calls.lock:
            self.under_way.setdefault(request, set()).add(call)
        try:
            yield call
        finally:
            with self._calls.lock:
                others = self.under_way[request]
                others.remove(call)
                if not others:
                    del self.under_way[request]

    def begin(self, name: LeaseName, sent: Moment) -> Lease:
        """Make and register a lease of this name."""
        siblings = self._siblings.get(name.request)
        if siblings is None:
            siblings = self._siblings[name.request] = Siblings()
        lease = self.known[name] = Lease(name, sent)
        siblings.add(lease)
        return lease

    def end(self, lease: Lease) -> None:
        """Forget ``lease``, which was denied. Calls that were sent before can't begin it again."""
        if self.known.get(lease.name) is lease:
            del self.known[lease.name]
        for call in self.under_way.get(lease.name.request, ()):
            call.ended.add(lease.name)

    def count_refusal(self, request: Request) -> None:
        """Count a refusal for the calls of the same request that are under way."""
        for call in self.under_way.get(request, ()):
            call.denials += 1

    def doubt(self, request: Request, version: str, now: Moment, pause: float) -> Lease | None:
        """Choose the lease to renew now after a refusal of ``request``: `Siblings.doubt` of its siblings."""
        siblings = self._siblings.get(request)
        return siblings.doubt(version, *now, pause) if siblings is not None else None
