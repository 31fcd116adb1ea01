"""Succession: the wrapping key in use is followed by another before it is due."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

from envelope_codec.envelope import Purpose
from envelope_codec.errors import EnvelopeError, KeyDenied, KmsUnavailable
from envelope_codec.keys.calls import KmsCalls, Threads, keyring_closed
from envelope_codec.keys.completion import Completion, report_recipients
from envelope_codec.keys.decisions import (
    Choice,
    Start,
    choose_key,
    may_go_on,
    start_for_caller,
    start_in_background,
)
from envelope_codec.keys.flight import Flight
from envelope_codec.keys.key_maker import KeyMaker
from envelope_codec.keys.keystore_reach import UNAVAILABLE as KEYSTORE_UNAVAILABLE
from envelope_codec.keys.limits import Limits
from envelope_codec.keys.moment import Moment
from envelope_codec.keys.publication import Publication
from envelope_codec.keys.sealing_key import AtNextUse, Scope, Term, Wrapped, WrappingKey
from envelope_codec.keys.sealing_waits import SealingWaits
from envelope_codec.keys.sharing import Sharing
from envelope_codec.keys.slots import Slot, Slots
from envelope_codec.keys.vouching import Leases
from envelope_codec.keystore_sharing import MOST_AHEAD

_RETRY = 10.0  # seconds until the next key is asked for again
_EXTENSION = 120.0  # seconds; more than `_RETRY` and an attempt in which each of eight recipients times out


class Succession:
    """Gets the next wrapping key of each scope, and puts it into use.

    Args:
        calls: makes the calls.
        maker: makes the keys.
        leases: vouch.
        limits: times and bounds.
        publication: has each new key's record published before the key comes into use.
        opened: told of each new key that comes into use, which its check has opened.
        sharing: gets keys that other processes seal with as well. None: each process makes its own.

    Attributes:
        slots: where the keys are.
        waits: of callers.
        completion: watches the keys in use.
    """

    def __init__(
        self,
        calls: KmsCalls,
        maker: KeyMaker,
        leases: Leases,
        limits: Limits,
        publication: Publication,
        opened: Callable[[Wrapped], object] = lambda made: None,
        sharing: Sharing | None = None,
    ) -> None:
        self._calls = calls
        self._clock = calls.clock
        self._maker = maker
        self._leases = leases
        self._limits = limits
        self._publication = publication
        self._sharing = sharing
        self._opened = opened
        threads = Threads.KEYSTORE if publication.asks_keystore else Threads.URGENT
        self.slots = Slots(calls, self._is_usable, self._forget, threads)
        self.waits = SealingWaits(calls, self.slots, refusal_ttl=limits.refusal_ttl)
        self.completion = Completion(calls, maker.try_out, self.prepare)

    def _is_usable(self, slot: Slot) -> bool:
        return slot.current is not None and slot.current.is_usable(Moment.now(self._clock))

    def prepare(self, scope: Scope, key: WrappingKey) -> None:
        """Get the key that follows ``key``, in the background."""

        def start(slot: Slot) -> Start:
            return start_in_background(in_use=slot.current is key, refused=slot.is_refused(self._clock.monotonic()))

        self.slots.fly(scope, self.replace, start, None)

    def request(self, scope: Scope, deadline: float) -> Flight[None] | None:
        """Get a key for a caller, who waits for the flight. None if there is one by now."""

        def start(slot: Slot) -> Start:
            return start_for_caller(usable=self._is_usable(slot), refused=slot.is_refused(self._clock.monotonic()))

        return self.slots.fly(scope, self.replace, start, deadline)

    async def renew(self, scope: Scope, slot: Slot, deadline: float) -> None:
        """Replace the key in use by one that is asked for from now on. Errors as in `Keyring.renew`."""
        under_way = slot.flight
        if under_way is not None:  # it may have asked the KMS already
            with suppress(EnvelopeError):
                await under_way.join(deadline).wait(self._clock, deadline)
        old = slot.current
        if old is None:
            return
        old.ripen()

        def start(slot: Slot) -> Start:
            return start_in_background(in_use=slot.current is old, refused=False)

        flight = self.slots.fly(scope, self._replace_anew, start, deadline)
        if flight is not None:
            await flight.wait(self._clock, deadline)
        if slot.current is old:
            raise KmsUnavailable(
                "the KMS or the keystore did not answer; the wrapping key in use goes on", operation="wrap"
            )

    def replace(self, scope: Scope, slot: Slot) -> None:
        """Get the next key. One attempt; runs in a thread."""
        self._replace(scope, slot, anew=False)

    def look(self, scope: Scope) -> None:
        """Seal with the key that others share, if it is younger than the one in use. Runs in a thread.

        Raises:
            KmsUnavailable: the keyring has been closed.
        """
        slot = self.slots.get(scope)
        key = slot.current if slot is not None else None
        if self._sharing is None or slot is None or key is None:
            return
        if slot.flight is not None:  # it looks for itself
            return
        begun, newest = Moment.now(self._clock), slot.newest
        made = self._sharing.find_younger(scope, key.record, newest)
        if made is not None:
            self._begin_use(scope, slot, made, begun, newest)

    def _replace_anew(self, scope: Scope, slot: Slot) -> None:
        self._replace(scope, slot, anew=True)

    def _replace(self, scope: Scope, slot: Slot, *, anew: bool) -> None:
        begun, newest = Moment.now(self._clock), slot.newest
        try:
            made = self._make(scope, slot, anew=anew)
        except KeyDenied as error:
            self.slots.refuse(slot, error, self._limits.refusal_ttl)
            raise
        except EnvelopeError as error:
            grace = self._limits.outage_grace if error.code == KEYSTORE_UNAVAILABLE else math.inf
            if self._go_on(scope, slot, outage=isinstance(error, KmsUnavailable), grace=grace):
                return
            raise
        self._begin_use(scope, slot, made, begun, newest)

    def _begin_use(self, scope: Scope, slot: Slot, made: Wrapped, begun: Moment, newest: int) -> None:
        """Put the key into use that was asked for at ``begun``, if it is the better one.

        ``newest`` is that of the slot at that moment.
        """
        limits = self._limits
        term = Term.begin(_first(made, begun), limits.max_age, limits.max_payloads, self._calls.jitter())
        new = WrappingKey(made, term)
        chosen, choice = self._choose(slot, new, scope, newest)
        if choice is Choice.NEW:
            self._opened(made)
        self.waits.end(scope)
        self._schedule(scope, slot, chosen.term.ripe_at - self._clock.monotonic())
        self.completion.watch(scope, chosen, lambda: slot.current is chosen)
        if choice is Choice.NEW:
            report_recipients(self._calls, *self._maker.find(scope), new)

    def _make(self, scope: Scope, slot: Slot, *, anew: bool) -> Wrapped:
        """Get a key that is shared; or make one, and publish its record.

        If this ends in between, the keystore has one row more, which is no harm.

        Raises:
            EnvelopeError: there is no key that may come into use.
        """
        if self._sharing is not None:
            current = slot.current.record if slot.current is not None else None
            shared = self._sharing.obtain(scope, current, slot.newest, anew=anew)
            if shared is not None:
                return shared
        self._publication.check()
        made = self._maker.make(scope, Purpose.WRAPPING_KEY)
        self._publication.publish(made.record)
        return made

    def _choose(self, slot: Slot, new: WrappingKey, scope: Scope, newest: int) -> tuple[WrappingKey, Choice]:
        """Put ``new`` into use, if it is the better one. Return the key in use, or ``new`` where there is none."""
        with self._calls.lock:
            if self._calls.closed:
                raise keyring_closed()
            slot.refusal = None
            old = slot.current
            choice = self._decide(slot, new, newest)
            if choice is Choice.OLD and old is not None:
                old.at_next_use = AtNextUse.NOTHING
                return old, choice
            slot.current = new if choice is Choice.NEW else None
            slot.newest = max(slot.newest, new.record.created) if choice is Choice.NEW else slot.newest
            for lease in new.leases if choice is Choice.NEW else ():
                lease.scopes.add(scope)
            return new, choice

    def _decide(self, slot: Slot, new: WrappingKey, newest: int) -> Choice:
        """Decide between the key in use and ``new``. Called under the lock."""
        old, usable = slot.current, self._is_usable(slot)
        choice = choose_key(
            denied=new.is_denied(),
            usable=usable,
            old=old.stage if old is not None else None,
            old_lacks=len(old.lacks) if old is not None else 0,
            new_lacks=len(new.lacks),
        )
        return Choice.OLD if choice is Choice.NEW and usable and _is_older(new, slot, newest) else choice

    def _go_on(self, scope: Scope, slot: Slot, *, outage: bool, grace: float) -> bool:
        """Let the current key go on while the next can't be had. Say whether it does; the next is asked for again soon.

        In an outage it goes on past its age and count, while its leases and their grace last. The leases are no bound
        where the KMS renews them and it is the keystore that gives no answer: then it is ``grace`` seconds at most.
        """
        key, now = slot.current, Moment.now(self._clock)
        if key is None:
            return False
        if outage and key.live_lease(*now) is None:
            self._leases.renew_now(key.leases)  # the outage has not been noticed while nothing was used
        if not may_go_on(outage=outage, due=key.is_due(*now), vouched=key.live_lease(*now) is not None):
            return False
        if outage and not key.extend(now, _EXTENSION, grace):
            return False
        key.at_next_use = AtNextUse.WAIT
        self._schedule(scope, slot, _RETRY)
        return True

    def _schedule(self, scope: Scope, slot: Slot, delay: float) -> None:
        """Ask for the next key in so many seconds, if the current one is still in use then."""
        key = slot.current

        def ask() -> None:
            if key is None or slot.current is not key or self._calls.closed:
                return
            if key.term.ripe_at - self._clock.monotonic() < 1e-6:
                key.ripen()
            if key.is_used:
                self.prepare(scope, key)
            elif key.at_next_use is not AtNextUse.TRY:  # it may grow old; the next is prepared when this one is used
                key.at_next_use = AtNextUse.PREPARE

        with self._calls.lock:
            if slot.timer is not None:
                slot.timer.cancel()
            slot.timer = None if self._calls.closed else self._clock.call_later(delay, ask)

    def _forget(self, scope: Scope, key: WrappingKey | None) -> None:
        """Forget what is noted of ``scope`` elsewhere. Called under the lock."""
        for lease in key.leases if key is not None else ():
            lease.scopes.discard(scope)
        self.completion.forget(scope)


def _first(made: Wrapped, begun: Moment) -> Moment:
    """Return the moment from which the age of a key counts: for a shared one when it was made, whoever adopts it.

    Never more than clocks may differ after it was asked for: a clock that was set in between must not prolong its age.
    """
    shared = made.record.purpose is Purpose.SHARED_WRAPPING_KEY
    return begun.after(min(made.record.created - begun.time, MOST_AHEAD)) if shared else begun


def _is_older(new: WrappingKey, slot: Slot, newest: int) -> bool:
    """Say whether ``new`` is a shared key from before one that has come into use since it was asked for.

    ``newest`` is that of the slot when it was asked for. If that has not changed, ``new`` was made after all, though
    its time may say otherwise, as after a clock was set back.
    """
    shared = new.record.purpose is Purpose.SHARED_WRAPPING_KEY
    return shared and new.record.created < slot.newest and slot.newest != newest
