"""Keys for sealing: one at a time for each scope, the next prepared before it is due."""

from __future__ import annotations

import asyncio

from envelope_codec.errors import KeyDenied
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.decisions import decide_use
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.moment import Moment
from envelope_codec.keys.sealing_key import AtNextUse, Scope, WrappingKey
from envelope_codec.keys.succession import Succession
from envelope_codec.keys.vouching import Leases

_NOTHING = AtNextUse.NOTHING  # a name of its own: before Python 3.12, looking up an enum's member is slow


class SealingKeys:
    """The wrapping key at hand for sealing in each scope, and the way to get the next.

    Args:
        calls: makes the calls.
        leases: vouch.
        succession: gets the next keys.
    """

    def __init__(self, calls: KmsCalls, leases: Leases, succession: Succession) -> None:
        self._calls = calls
        self._clock = calls.clock
        self._leases = leases
        self._succession = succession
        self._slots = succession.slots

    # --- for callers ------------------------------------------------------------------------------------------------

    def at_hand(self, scope: Scope) -> WrappingKey | None:
        """Return the key that seals the next payload, if it is at hand; count that payload. Never waits."""
        slot = self._slots.by_scope.get(scope)
        key = slot.current if slot is not None else None
        if key is None:
            return None
        monotonic, time = self._clock.monotonic(), self._clock.time()
        if key.is_due(monotonic, time):
            return None
        lease = key.live_lease(monotonic, time)
        if lease is None:
            return None
        lease.used = True
        number = key.count()
        if number >= key.prepare_from or key.at_next_use is not _NOTHING:
            return self._use(scope, key, number)
        return key

    async def get(self, scope: Scope, deadline: float) -> WrappingKey:
        """Return the key that seals the next payload, by ``deadline`` (monotonic seconds); count that payload."""
        renewed: set[Lease] = set()
        while True:
            key = self.at_hand(scope)
            if key is not None:
                return key
            try:
                await self._one_step(scope, renewed, deadline)
            except KeyDenied as refusal:
                await self._succession.waits.outlast(scope, refusal, deadline, self._succession.replace)

    async def prewarm(self, scope: Scope, deadline: float) -> None:
        """Return as soon as `at_hand` has a key."""
        renewed: set[Lease] = set()
        while not self._is_at_hand(scope):
            await self._one_step(scope, renewed, deadline)

    async def renew(self, deadline: float) -> None:
        """Replace every key in use by one that is asked for from now on. Errors as in `Keyring.renew`."""
        renewals = [self._succession.renew(scope, slot, deadline) for scope, slot in list(self._slots.by_scope.items())]
        outcomes = await asyncio.gather(*renewals, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def wipe(self, lease: Lease) -> None:
        """Forget the keys that nothing but this lease, which was denied, vouched for. Runs in a thread."""
        while True:
            try:
                scope = lease.scopes.pop()
            except KeyError:
                return
            key = self._slots.key(scope)
            if key is not None and key.is_denied():
                self._slots.remove(key, scope)

    def clear(self) -> None:
        """Forget every key, and cancel what is scheduled."""
        self._succession.waits.close()
        self._succession.completion.close()
        self._slots.clear()

    # --- at each use ------------------------------------------------------------------------------------------------

    def _use(self, scope: Scope, key: WrappingKey, number: int) -> WrappingKey | None:
        """Do what the payload of this number sets off. Return ``key``, unless it has sealed its last payload."""
        near_end = number >= key.prepare_from or self._clock.monotonic() >= key.term.ripe_at
        use = decide_use(key.stage, key.at_next_use, over=number > key.term.max_payloads, near_end=near_end)
        if not use.seals:
            key.spend()
            return None
        if use.tries:
            key.at_next_use = use.then
            self._succession.completion.start_trials(scope)
        if use.prepares:
            key.ripen()
            self._succession.prepare(scope, key)
        return key

    def _is_at_hand(self, scope: Scope) -> bool:
        key = self._slots.key(scope)
        return key is not None and key.is_usable(Moment.now(self._clock))

    async def _one_step(self, scope: Scope, renewed: set[Lease], deadline: float) -> None:
        """Wait for what a usable key lacks: a live lease, or to be there at all."""
        key, now = self._slots.key(scope), Moment.now(self._clock)
        flight = None
        if key is not None and not key.is_due(*now) and key.live_lease(*now) is None:
            flight = self._leases.renew_first(key.leases, renewed, deadline)
        if flight is None:
            flight = self._succession.request(scope, deadline)
        if flight is not None:
            await flight.wait(self._clock, deadline)
