"""Keys for sealing: one at a time for each namespace and its master keys, the next prepared before it is due."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

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
from envelope_codec.keys import patience
from envelope_codec.keys.calls import KmsCalls, closed
from envelope_codec.keys.clock import Timer
from envelope_codec.keys.completion import Completion, tell_recipients
from envelope_codec.keys.flight import AT_SHUTDOWN, Flight, stopping
from envelope_codec.keys.keyset import KeySet, decisive
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.pause import Pauses
from envelope_codec.keys.sealing_key import Place, SealingKey
from envelope_codec.keys.trial import Lack
from envelope_codec.keys.vouching import Leases
from envelope_codec.keys.witness import open_recipient
from envelope_codec.kms import MasterKey
from envelope_codec.observe import logger

_PREPARE_AT = 0.9
_PATIENCE = 30.0  # seconds for which the next key is asked for in a row, while nobody waits for it
_RETRY = 10.0  # seconds until it is asked for again
_MANY = 1_000  # places
_SWEPT_AT_ONCE = 64  # places; event loops wait for the lock
_REMEMBERED = 10_000  # places
_EXTENSION = 120.0  # seconds; more than `_RETRY` and an attempt in which each of eight recipients times out


class _State:
    __slots__ = ("current", "flight", "refusal", "refusals", "refused_until", "timer")

    def __init__(self) -> None:
        self.current: SealingKey | None = None
        self.refusal: EnvelopeError | None = None
        self.refusals = 0  # real ones so far
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
        self._to_sweep: Iterator[Place] = iter(())
        self._proven: set[Place] = set()
        self._pauses = Pauses(calls)
        self._served: dict[Place, None] = {}
        self._completion = Completion(calls, self._try, self._prepare)
        self._told: dict[Place, tuple[str, ...]] = {}

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
                self._prepare_or_try(place, key, number)
        return key

    async def get(self, place: Place, deadline: float) -> SealingKey:
        """The key that seals the next payload, by ``deadline`` (monotonic seconds); counts that payload."""
        renewed: set[Lease] = set()
        while True:
            key = self.at_hand(place)
            if key is not None:
                return key
            try:
                await self._one_step(place, renewed, deadline)
            except KeyDenied as refusal:
                await self._outlast(place, refusal, deadline, self._replace)

    async def prewarm(self, place: Place, deadline: float) -> None:
        """Return as soon as `at_hand` has a key."""
        renewed: set[Lease] = set()
        while self._usable(place) is None:
            await self._one_step(place, renewed, deadline)

    async def direct(self, place: Place, deadline: float) -> SealingKey:
        """A key for one payload, wrapped by the KMS itself."""
        while True:
            flight = Flight(lambda: self._make(place, Purpose.DATA_KEY), deadline).join(deadline)
            self._calls.fly(flight, lambda: None)
            try:
                key = await flight.wait(self._clock, deadline)
            except KeyDenied as refusal:
                self._proven.discard(place)
                with self._calls.lock:
                    state = self._state(place)
                self._refuse(state, refusal)
                await self._outlast(place, refusal, deadline, self._probe)
                continue
            except EnvelopeError:
                self._proven.discard(place)
                raise
            self._prove(place)
            settings = tuple(lack.setting for lack in key.lacks)
            if self._told.get(place, ()) != settings:
                if len(self._told) >= _MANY:
                    self._told.clear()
                self._told[place] = settings
                self._tell_recipients(place, key)
            return key

    async def prove(self, place: Place, deadline: float) -> None:
        """Return if the last `direct` key could be had; else as soon as one can, which is thrown away."""
        if place in self._proven:
            return
        flight = self._prepare(place, None, deadline, anew=True, attempt=self._probe)
        if flight is not None:
            await flight.wait(self._clock, deadline)

    def _prove(self, place: Place) -> None:
        with self._calls.lock:
            if len(self._proven) >= _MANY:
                self._proven.clear()
            self._proven.add(place)
        self._serve(place)

    async def pause_at_start(self, place: Place, seconds: float) -> None:
        """Wait so long before this process asks a KMS for ``place`` for the first time, or less: until another has.

        Workers that start together share one pause. One that starts later has none.
        """
        if place not in self._served and seconds > 0:
            await self._pauses.join(("start", place), seconds, math.inf).wait(self._clock, math.inf)

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
        while True:
            try:
                place = lease.places.pop()
            except KeyError:
                return
            state = self._states.get(place)
            key = state.current if state is not None else None
            if state is not None and key is not None and all(one.ended for one in key.leases):
                with self._calls.lock:
                    if state.current is key:
                        state.current = None

    def clear(self) -> None:
        """Forget every key, and cancel what is scheduled."""
        self._pauses.close()
        self._completion.close()
        with self._calls.lock:
            for state in self._states.values():
                state.current = None
                if state.timer is not None:
                    state.timer.cancel()

    def _prepare_or_try(self, place: Place, key: SealingKey, number: int) -> None:
        """Do what ``key`` was marked for when it was not in use, or get the next key."""
        tries, key.tries = key.tries, False
        if tries:
            self._completion.used(place)
        near_end = number >= key.max_payloads * _PREPARE_AT or self._clock.monotonic() >= key.ripe_at
        if tries and not key.ripe and not near_end:
            key.prepare_at = key.max_payloads * _PREPARE_AT
            return
        key.ripe = True
        self._prepare(place, key)

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

    async def _outlast(
        self, place: Place, refusal: KeyDenied, deadline: float, attempt: Callable[[Place, _State], None]
    ) -> None:
        """Return when ``refusal`` has passed, which ``attempt`` finds out: a real call, once for all that wait.

        Only what user code has left waits for that, and only where this process has sealed before: else the refusal
        is a matter of settings.

        Raises:
            EnvelopeError: what the last attempt came to, at the deadline or at the worker's shutdown; ``refusal``
                at once for everybody else.
        """
        if not patience.left() or place not in self._served:
            raise refusal
        stop, hurrying = stopping.get(), False
        apart = patience.pause(self._refusal_ttl, deadline - self._clock.monotonic(), self._calls.jitter())
        try:
            while True:
                if not hurrying and stop is not None and stop.is_set:
                    hurrying, deadline = True, min(deadline, self._clock.monotonic() + AT_SHUTDOWN)
                state = self._states.get(place)
                seen = state.refusals if state is not None else 0
                pause = self._pauses.join(("refused", place), apart, deadline, refusal)
                await pause.wait(self._clock, deadline)
                try:
                    flight = self._prepare(place, None, deadline, anew=True, seen=seen, attempt=attempt)
                    if flight is not None:
                        await flight.wait(self._clock, deadline)
                    return
                except KeyDenied as again:
                    if self._clock.monotonic() >= deadline:
                        raise
                    refusal = again
        except EnvelopeError:
            patience.spend()
            raise

    def _serve(self, place: Place) -> None:
        """Take note that a key was had for ``place``: nobody needs to pause there any more."""
        with self._calls.lock:
            if place not in self._served and len(self._served) >= _REMEMBERED:
                del self._served[next(iter(self._served))]
            self._served[place] = None
        self._pauses.end(("start", place))
        self._pauses.end(("refused", place))

    def _prepare(
        self,
        place: Place,
        key: SealingKey | None,
        deadline: float | None = None,
        *,
        anew: bool = False,
        seen: int | None = None,
        attempt: Callable[[Place, _State], None] | None = None,
    ) -> Flight[None] | None:
        """Get the key that follows ``key``: the flight under way, or a new one unless another has just landed.

        It is joined where there is a caller with a deadline. ``anew`` is for one who wants another key than the one in
        use, although it may have been refused a moment ago. One who has ``seen`` so many refusals does not ask once
        more where there is a later answer: a later refusal is raised, and None says that the refusals have passed.
        ``attempt`` is what a new flight does, `_replace` if None.
        """
        with self._calls.lock:
            if self._calls.closed:
                raise closed()
            state = self._state(place)
            flight = state.flight
            new = flight is None
            if flight is None and (state.current is not key if deadline is None or anew else self._usable(place)):
                return None
            if flight is None:
                if seen is not None and state.refusal is None:
                    return None
                if seen is not None and state.refusals != seen and state.refusal is not None:
                    raise state.refusal.fresh()
                if not anew and state.refusal is not None and self._clock.monotonic() < state.refused_until:
                    if deadline is None:
                        return None
                    raise state.refusal.fresh()
                work = attempt or self._replace
                flight = state.flight = Flight(lambda: work(place, state), -math.inf)
            if deadline is None:
                flight.keep = True
                flight.deadline = max(flight.deadline, self._clock.monotonic() + _PATIENCE)
            else:
                flight.join(deadline)
        if new:
            self._calls.fly(flight, lambda: setattr(state, "flight", None), urgent=True)
        return flight

    def _state(self, place: Place) -> _State:
        """Called under the lock."""
        state = self._states.get(place)
        if state is None:
            self._sweep()
            state = self._states[place] = _State()
        return state

    def _sweep(self) -> None:
        """Look at some of the places, if there are many, and forget those where nothing is sealed any more.

        Called under the lock.
        """
        if len(self._states) < _MANY:
            return
        some = list(itertools.islice(self._to_sweep, _SWEPT_AT_ONCE))
        if not some:
            self._to_sweep = iter(list(self._states))
        for place in some:
            state = self._states.get(place)
            if state is not None and state.flight is None and not self._usable(place):
                self._forget(place, state)

    def _forget(self, place: Place, state: _State) -> None:
        key, state.current = state.current, None
        del self._states[place]
        if state.timer is not None:
            state.timer.cancel()
        for lease in key.leases if key is not None else ():
            lease.places.discard(place)
        self._completion.forget(place)

    def _replace(self, place: Place, state: _State) -> None:
        """One attempt to get the next key. Runs in a thread."""
        monotonic, time = self._clock.monotonic(), self._clock.time()
        try:
            key = self._make(place, Purpose.WRAPPING_KEY)
        except KeyDenied as error:
            self._refuse(state, error)
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
            state.refusal = None
            current = state.current
            if all(lease.ended for lease in key.leases):  # denied meanwhile; the next caller asks again
                state.current = None
            elif (
                current is None
                or len(key.lacks) < max(1, len(current.lacks))
                or current.ripe
                or not self._usable(place)
            ):
                state.current = key
                for lease in key.leases:
                    lease.places.add(place)
            else:  # no more recipients than before: it would only be one more record for every reader to open
                current.prepare_at = current.max_payloads * _PREPARE_AT
            current, in_use = state.current or key, state.current is key
        self._serve(place)
        self._schedule(place, state, current.ripe_at - self._clock.monotonic())
        self._completion.watch(place, current, lambda: state.current is current)
        if in_use:
            self._tell_recipients(place, key)

    def _tell_recipients(self, place: Place, key: SealingKey) -> None:
        namespace, key_set = (place, self._key_sets(place)) if isinstance(place, str) else place
        tell_recipients(self._calls, namespace, key_set, key)

    def _probe(self, place: Place, state: _State) -> None:
        """One attempt to have a data key wrapped, which is thrown away. Runs in a thread."""
        try:
            self._make(place, Purpose.DATA_KEY)
        except KeyDenied as error:
            self._refuse(state, error)
            raise
        state.refusal = None
        self._prove(place)

    def _refuse(self, state: _State, error: KeyDenied) -> None:
        with self._calls.lock:
            state.current = None
            state.refusal, state.refused_until = error.fresh(), self._clock.monotonic() + self._refusal_ttl
            state.refusals += 1

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
            if key.sealed() > 0:
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
        lacks: list[Lack] = []
        wanted = max(1, key_set.min_recipients)
        for master in sorted(key_set.sealing, key=lambda master: self._calls.breaker(master).is_open):
            setting = key_set.setting(order[id(master)])
            if len(recipients) >= wanted and self._left_out(master):
                away = KmsUnavailable("the KMS has not answered lately", operation="wrap", key_id=master.key_id)
                errors.append(away)
                lacks.append(Lack(master, setting, away))
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
                error.setting = setting
                errors.append(error)
                lacks.append(Lack(master, setting, error.fresh()))
        if len(recipients) < wanted:
            if not errors:
                raise KeyNotConfigured(
                    "key and backup_keys are fewer master keys than min_recipients", operation="seal"
                )
            raise decisive(errors, "seal")
        in_order = [recipient for _, recipient in sorted(recipients.values(), key=lambda pair: pair[0])]
        return SealingKey(build_record(head, record_id, in_order), key, tuple(leases), tuple(lacks))

    def _try(self, master: MasterKey, context: Mapping[str, str]) -> None:
        """Have ``master`` do what it does for a new record, with a secret that is thrown away. Runs in a thread."""
        secret = os.urandom(SECRET_LENGTH)
        head = record_head(Purpose.WRAPPING_KEY, int(self._clock.time()), context)
        _, record_id = commit(secret, head)
        bound = kms_context(Purpose.WRAPPING_KEY, context.items(), record_id)
        record = self._wrap(master, secret, head, record_id, bound)
        if self._verify:
            recipient = record.recipients[0]
            self._check_opens(recipient.key_id, record.namespace)
            # Not by the leases: a trial vouches for nothing.
            self._calls.call("unwrap", master, record.namespace, lambda: open_recipient(record, recipient, master))

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
            text = (
                "%s is not among the decrypt_keys of namespace %.200r, so it can't seal: add it there, and check with "
            )
            logger.error(text + "`envelope-codec doctor`", key_id, namespace)
            raise KeyNotConfigured("the master key is not configured for opening", operation="seal", key_id=key_id)
