"""Keys for sealing: one at a time for each namespace and its master keys, the next prepared before it is due."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from envelope_codec.clock import Timer
from envelope_codec.envelope import (
    NAMESPACE,
    SECRET_LENGTH,
    Purpose,
    Recipient,
    Record,
    build_record,
    commit,
    kms_context,
    record_head,
)
from envelope_codec.errors import EnvelopeError, KeyDenied, KeyNotConfigured, KmsUnavailable
from envelope_codec.flight import Flight
from envelope_codec.keyset import KeySet, decisive
from envelope_codec.kms import MasterKey
from envelope_codec.kmscall import KmsCalls, closed
from envelope_codec.lease import Lease
from envelope_codec.observe import logger
from envelope_codec.vouching import Leases

_PREPARE_AT = 0.9
_PATIENCE = 30.0  # seconds for which the next key is asked for in a row, while nobody waits for it
_RETRY = 10.0  # seconds until it is asked for again
_COMPLETE = 60.0  # seconds after which a key that lacks a recipient is to be replaced by a complete one
_MANY = 1_000  # places
_EXTENSION = 120.0  # seconds; more than `_RETRY` and an attempt in which each of eight recipients times out


Place = str | tuple[str, KeySet]
"""What has a sealing key of its own: a namespace with its usual master keys, or with others."""


class SealingKey:
    """A key to seal with, and the record that carries it.

    ``template`` is for the codec to keep a payload in; ``lacking`` counts the recipients that an outage kept out; from
    ``ripe_at`` (monotonic seconds) on, or when ``ripe``, it is to be replaced by whatever next key there is;
    ``serving`` is the lease under which it was found vouched for last.
    """

    __slots__ = (
        "_number",
        "due_monotonic",
        "due_time",
        "exhausted",
        "key",
        "lacking",
        "leases",
        "max_payloads",
        "prepare_at",
        "record",
        "ripe",
        "ripe_at",
        "serving",
        "template",
    )

    def __init__(self, record: Record, key: bytes, leases: tuple[Lease, ...] = (), lacking: int = 0) -> None:
        self.record = record
        self.key = key
        self.leases = leases
        self.lacking = lacking
        self.due_monotonic = self.due_time = self.ripe_at = self.max_payloads = self.prepare_at = math.inf
        self.exhausted = self.ripe = False
        self.serving: Lease | None = None
        self.template: Any = None
        self._number = itertools.count(1)  # next() is atomic, += is not

    def take(self) -> int:
        """Count one more payload: its number, from 1."""
        return next(self._number)

    def due(self, monotonic: float, time: float) -> bool:
        """Whether it is too old to seal at these two times, or has sealed enough."""
        return self.exhausted or monotonic >= self.due_monotonic or time >= self.due_time

    def vouched(self, monotonic: float, time: float) -> bool:
        """Whether a lease of it is live."""
        for lease in self.leases:
            if lease.live(monotonic, time):
                self.serving = lease
                return True
        return False


class _State:
    __slots__ = ("current", "flight", "refusal", "refused_until", "timer")

    def __init__(self) -> None:
        self.current: SealingKey | None = None
        self.refusal: EnvelopeError | None = None
        self.refused_until = -math.inf
        self.flight: Flight[None] | None = None
        self.timer: Timer | None = None


class SealingKeys:
    """The key at hand for sealing in each namespace, and the way to get the next.

    Args:
        key_sets: namespace to its master keys, or None where none are configured.
        opening_key_sets: the same for opening.
        calls: makes the calls.
        leases: vouch.
        verify: unwrap each new record once before it seals; off for roles that may only encrypt.
        max_age: seconds after which a key is replaced.
        max_payloads: payloads after which it is.
        refusal_ttl: seconds for which a refusal is repeated to callers without asking again.
    """

    def __init__(
        self,
        key_sets: Callable[[str], KeySet | None],
        opening_key_sets: Callable[[str], KeySet | None],
        calls: KmsCalls,
        leases: Leases,
        *,
        verify: bool,
        max_age: float,
        max_payloads: int,
        refusal_ttl: float,
    ) -> None:
        self._key_sets = key_sets
        self._opening_key_sets = opening_key_sets
        self._calls = calls
        self._clock = calls.clock
        self._leases = leases
        self._verify = verify
        self._max_age = max_age
        self._max_payloads = max_payloads
        self._refusal_ttl = refusal_ttl
        self._states: dict[Place, _State] = {}
        self._proven: set[Place] = set()

    def at_hand(self, place: Place) -> SealingKey | None:
        """The key that seals the next payload, if it is at hand; counts that payload. Never waits."""
        key = self._usable(place)
        if key is not None:
            if key.serving is not None:
                key.serving.used = True
            number = key.take()
            if number >= key.prepare_at:
                if number > key.max_payloads:
                    key.exhausted = True
                    return None
                key.ripe = True
                self._prepare(place, key)
        return key

    async def get(self, place: Place, deadline: float) -> SealingKey:
        """The key that seals the next payload, by ``deadline`` (monotonic seconds); counts that payload."""
        renewed: set[Lease] = set()
        while True:
            key = self.at_hand(place)
            if key is not None:
                return key
            await self._one_step(place, renewed, deadline)

    async def prewarm(self, place: Place, deadline: float) -> None:
        """Return as soon as `at_hand` has a key."""
        renewed: set[Lease] = set()
        while self._usable(place) is None:
            await self._one_step(place, renewed, deadline)

    async def direct(self, place: Place, deadline: float) -> SealingKey:
        """A key for one payload, wrapped by the KMS itself."""
        flight = Flight(lambda: self._make(place, Purpose.DATA_KEY), deadline).join(deadline)
        self._calls.fly(flight, lambda: None)
        try:
            key = await flight.wait(self._clock, deadline)
        except EnvelopeError:
            self._proven.discard(place)
            raise
        if len(self._proven) >= _MANY:
            self._proven.clear()
        self._proven.add(place)
        return key

    async def prove(self, place: Place, deadline: float) -> None:
        """Return if the last `direct` key could be had; else as soon as one can, which is thrown away."""
        if place not in self._proven:
            await self.direct(place, deadline)

    async def renew(self, deadline: float) -> None:
        """Replace every key in use by one that is asked for from now on. Errors as in `Keyring.renew`."""
        renewals = [self._renew(place, state, deadline) for place, state in list(self._states.items())]
        outcomes = await asyncio.gather(*renewals, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _renew(self, place: Place, state: _State, deadline: float) -> None:
        under_way = state.flight
        if under_way is not None:  # it may have asked the KMS already
            with suppress(EnvelopeError):
                await under_way.join(deadline).wait(self._clock, deadline)
        old = state.current
        if old is None:
            return
        old.ripe = True
        flight = self._prepare(place, old, deadline, anew=True)
        if flight is not None:
            await flight.wait(self._clock, deadline)
        if state.current is old:
            raise KmsUnavailable("the KMS did not answer; the wrapping key in use goes on", operation="wrap")

    def wipe(self, lease: Lease) -> None:
        """Forget the keys that nothing but this lease, which was denied, vouched for. Runs in a thread."""
        while lease.places:
            state = self._states.get(lease.places.pop())
            key = state.current if state is not None else None
            if state is not None and key is not None and all(one.ended for one in key.leases):
                with self._calls.lock:
                    if state.current is key:
                        state.current = None

    def clear(self) -> None:
        """Forget every key, and cancel what is scheduled."""
        with self._calls.lock:
            for state in self._states.values():
                state.current = None
                if state.timer is not None:
                    state.timer.cancel()

    def _usable(self, place: Place) -> SealingKey | None:
        state = self._states.get(place)
        key = state.current if state is not None else None
        if key is None:
            return None
        monotonic, time = self._clock.monotonic(), self._clock.time()
        return key if not key.due(monotonic, time) and key.vouched(monotonic, time) else None

    async def _one_step(self, place: Place, renewed: set[Lease], deadline: float) -> None:
        """Wait for what a usable key lacks: a live lease, or to be there at all."""
        state = self._states.get(place)
        key = state.current if state is not None else None
        renewal = None
        monotonic, time = self._clock.monotonic(), self._clock.time()
        if key is not None and not key.due(monotonic, time) and not key.vouched(monotonic, time):
            renewal = self._leases.renewal(key.leases, renewed, deadline)
        flight = renewal or self._prepare(place, key, deadline)
        if flight is not None:
            await flight.wait(self._clock, deadline)

    def _prepare(
        self, place: Place, key: SealingKey | None, deadline: float | None = None, *, anew: bool = False
    ) -> Flight[None] | None:
        """Get the key that follows ``key``: the flight under way, or a new one unless another has just landed.

        It is joined where there is a caller with a deadline. ``anew`` is for one who wants another key than the one in
        use, although it may have been refused a moment ago.
        """
        with self._calls.lock:
            if self._calls.closed:
                raise closed()
            state = self._states.get(place)
            if state is None:
                self._sweep()
                state = self._states[place] = _State()
            flight = state.flight
            new = flight is None
            if flight is None and (state.current is not key if deadline is None or anew else self._usable(place)):
                return None
            if flight is None:
                if not anew and state.refusal is not None and self._clock.monotonic() < state.refused_until:
                    if deadline is None:
                        return None
                    raise state.refusal.fresh()
                flight = state.flight = Flight(lambda: self._replace(place, state), -math.inf)
            if deadline is None:
                flight.keep = True
                flight.deadline = max(flight.deadline, self._clock.monotonic() + _PATIENCE)
            else:
                flight.join(deadline)
        if new:
            self._calls.fly(flight, lambda: setattr(state, "flight", None), urgent=True)
        return flight

    def _sweep(self) -> None:
        """Forget places where nothing is sealed any more, if there are many. Called under the lock."""
        if len(self._states) < _MANY:
            return
        for place, state in list(self._states.items()):
            if state.flight is None and not self._usable(place):
                del self._states[place]
                if state.timer is not None:
                    state.timer.cancel()

    def _replace(self, place: Place, state: _State) -> None:
        """One attempt to get the next key. Runs in a thread."""
        monotonic, time = self._clock.monotonic(), self._clock.time()
        try:
            key = self._make(place, Purpose.WRAPPING_KEY)
        except KeyDenied as error:
            state.current = None
            state.refusal, state.refused_until = error.fresh(), self._clock.monotonic() + self._refusal_ttl
            raise
        except EnvelopeError as error:
            if self._go_on(place, state, outage=isinstance(error, KmsUnavailable)):
                return
            raise
        key.due_monotonic, key.due_time = monotonic + self._max_age, time + self._max_age
        key.ripe_at = monotonic + self._max_age * (_PREPARE_AT - 0.1 * self._calls.jitter())
        key.max_payloads = self._max_payloads
        key.prepare_at = self._max_payloads * _PREPARE_AT
        with self._calls.lock:
            if self._calls.closed:
                raise closed()
            current = state.current
            if all(lease.ended for lease in key.leases):  # denied meanwhile; the next caller asks again
                state.current = None
            elif current is None or key.lacking < max(1, current.lacking) or current.ripe or not self._usable(place):
                state.current = key
                for lease in key.leases:
                    lease.places.add(place)
            else:  # no more recipients than before: it would only be one more record for every reader to open
                current.prepare_at = current.max_payloads * _PREPARE_AT
            current = state.current or key
        delay = current.ripe_at - self._clock.monotonic()
        self._schedule(place, state, min(delay, _COMPLETE) if current.lacking else delay)

    def _go_on(self, place: Place, state: _State, *, outage: bool) -> bool:
        """Whether the current key goes on while the next can't be had, which is asked for again soon.

        In an outage it goes on past its age and count, while its leases and their grace last.
        """
        key, monotonic, time = state.current, self._clock.monotonic(), self._clock.time()
        if key is None:
            return False
        if outage and not key.vouched(monotonic, time):
            self._leases.renew_now(key.leases)  # the outage has not been noticed while nothing was used
        if not key.vouched(monotonic, time) or (key.due(monotonic, time) and not outage):
            return False
        if outage:
            key.ripe = key.ripe or key.due(monotonic, time)
            key.due_monotonic = max(key.due_monotonic, monotonic + _EXTENSION)
            key.due_time = max(key.due_time, time + _EXTENSION)
            if key.exhausted:
                key.max_payloads, key.exhausted = math.inf, False
        key.prepare_at = key.max_payloads + 1  # the timer asks again, and not each payload
        self._schedule(place, state, _RETRY)
        return True

    def _schedule(self, place: Place, state: _State, delay: float) -> None:
        key = state.current

        def due() -> None:
            if key is None or state.current is not key or self._calls.closed:
                return
            key.ripe = key.ripe or key.ripe_at - self._clock.monotonic() < 1e-6
            if key.take() > 1:
                key.max_payloads, key.prepare_at = key.max_payloads + 1, key.prepare_at + 1  # that was no payload
                self._prepare(place, key)
            else:  # it has sealed nothing and may grow old; the next is prepared when it is used
                key.prepare_at = 0

        with self._calls.lock:
            if state.timer is not None:
                state.timer.cancel()
            state.timer = None if self._calls.closed else self._clock.call_later(delay, due)

    def _make(self, place: Place, purpose: Purpose) -> SealingKey:
        """Make a secret and have it wrapped by every sealing master key that can."""
        namespace, key_set = (place, self._key_sets(place)) if isinstance(place, str) else place
        if key_set is None:
            raise KeyNotConfigured("no master key is configured for this namespace", operation="seal")
        secret = os.urandom(SECRET_LENGTH)
        context = {**key_set.context, NAMESPACE: namespace}
        head = record_head(purpose, int(self._clock.time()), context)
        key, record_id = commit(secret, head)
        bound = kms_context(purpose, context.items(), record_id)
        order = {id(master): number for number, master in enumerate(key_set.sealing)}
        recipients: dict[str, tuple[int, Recipient]] = {}
        leases: list[Lease] = []
        errors: list[EnvelopeError] = []
        wanted = max(1, key_set.min_recipients)
        for master in sorted(key_set.sealing, key=lambda master: self._calls.breaker(master).is_open):
            if len(recipients) >= wanted and self._left_out(master):
                errors.append(KmsUnavailable("the KMS has not answered lately", operation="wrap"))
                continue
            try:
                record = self._wrap(master, secret, head, record_id, bound)
                recipient = record.recipients[0]
                if recipient.key_id in recipients:
                    continue
                if purpose is Purpose.WRAPPING_KEY:
                    leases.append(self._first_lease(record, master, key_set.lease))
                recipients[recipient.key_id] = order[id(master)], recipient
            except EnvelopeError as error:
                error.setting = key_set.setting(order[id(master)])
                errors.append(error)
        if len(recipients) < wanted:
            if not errors:
                raise KeyNotConfigured(
                    "key and backup_keys are fewer master keys than min_recipients", operation="seal"
                )
            raise decisive(errors, "seal")
        for refusal in errors:
            if not isinstance(refusal, KmsUnavailable):
                text = "%s does not wrap, and sealing goes on without it: %s (key %s)"
                logger.error(text, refusal.setting, refusal, refusal.key_id)
        lacking = sum(isinstance(error, KmsUnavailable) for error in errors)
        in_order = [recipient for _, recipient in sorted(recipients.values(), key=lambda pair: pair[0])]
        return SealingKey(build_record(head, record_id, in_order), key, tuple(leases), lacking)

    def _left_out(self, master: MasterKey) -> bool:
        """Whether ``master`` is known to be out of reach, and it is not yet time to ask again."""
        breaker = self._calls.breaker(master)
        return breaker.is_open and not breaker.take_probe(self._clock.monotonic())

    def _wrap(self, master: MasterKey, secret: bytes, head: bytes, record_id: bytes, context: dict[str, str]) -> Record:
        """The record with this master key's recipient alone, which shows whether a provider's answer is of use."""

        def attempt() -> Record:
            wrapped = master.wrap(secret, context)
            recipient = Recipient(wrapped.key_id, wrapped.key_version, wrapped.ciphertext)
            return build_record(head, record_id, [recipient])

        return self._calls.call("wrap", master, context[NAMESPACE], attempt)

    def _first_lease(self, record: Record, master: MasterKey, seconds: float | None) -> Lease:
        """The lease of a new record, which has been opened once: one that can't be would lose a day of payloads."""
        if self._verify:
            self._check_opens(record.recipients[0].key_id, record.namespace)
            return self._leases.unwrap(record, record.recipients[0], master, seconds)[1]
        return self._leases.vouch_by_wrapping(record, master, seconds)

    def _check_opens(self, key_id: str, namespace: str) -> None:
        """Whoever has this configuration opens what this master key has wrapped, a resolver's choice included."""
        key_set = self._opening_key_sets(namespace)
        if key_set is None or not any(master.accepts(key_id) for master in key_set.opening(key_id)):
            logger.error("%s is not among the decrypt_keys of namespace %.200r, so it can't seal", key_id, namespace)
            raise KeyNotConfigured("the master key is not configured for opening", operation="seal", key_id=key_id)
