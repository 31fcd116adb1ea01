"""Completion: a sealing key that lacks recipients is replaced when these can be had."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.clock import Timer
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.sealing_key import Place, SealingKey
from envelope_codec.keys.trial import Trials, Want
from envelope_codec.kms import MasterKey
from envelope_codec.observe import Event, fix, logger, report

_APART = 3_600.0  # seconds from one replacement to the next
_SPREAD = 600.0  # seconds over which the next is spread
_REMEMBERED = 10_000  # places


class Completion:
    """Watches the keys in use, and has those replaced whose lacking master keys wrap again.

    At once the first time, then once an hour at most for each place, at a moment of ten minutes: a master key that
    comes and goes would make every reader open one more record each time.

    Args:
        calls: makes the calls.
        attempt: has a master key wrap something for a context. Raises `EnvelopeError` if it does not.
        prepare: gets the key that follows one in use.
    """

    def __init__(
        self,
        calls: KmsCalls,
        attempt: Callable[[MasterKey, Mapping[str, str]], None],
        prepare: Callable[[Place, SealingKey], object],
    ) -> None:
        self._calls = calls
        self._prepare = prepare
        self._trials = Trials(calls, attempt)
        self._replaced_at: dict[Place, float] = {}  # monotonic seconds
        self._timers: dict[Place, Timer] = {}

    def watch(self, place: Place, key: SealingKey, in_use: Callable[[], bool]) -> None:
        """Watch ``key`` instead of the one that was in use at ``place``, for as long as it is ``in_use``."""

        def sealed() -> int | None:
            return key.sealed() if in_use() else None

        def wake() -> None:
            key.tries, key.prepare_at = True, 0

        def served() -> None:
            self._replace(place, key, in_use)

        context = dict(key.record.context)
        self._trials.settle(place, [lack.master for lack in key.lacks], context, Want(sealed, wake, served))

    def used(self, place: Place) -> None:
        """See `Trials.used`."""
        self._trials.used(place)

    def forget(self, place: Place) -> None:
        """Nothing is sealed at ``place`` any more. Called under the lock."""
        self._trials.forget(place)
        timer = self._timers.pop(place, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """Cancel what is scheduled."""
        self._trials.close()
        with self._calls.lock:
            timers, self._timers = self._timers, {}
        for timer in timers.values():
            timer.cancel()

    def _replace(self, place: Place, key: SealingKey, in_use: Callable[[], bool]) -> None:
        def due() -> None:
            with self._calls.lock:
                self._timers.pop(place, None)
                if self._calls.closed or not in_use():
                    return
                if place not in self._replaced_at and len(self._replaced_at) >= _REMEMBERED:
                    del self._replaced_at[next(iter(self._replaced_at))]
                self._replaced_at[place] = self._calls.clock.monotonic()
            self._prepare(place, key)

        last = self._replaced_at.get(place)
        if last is None:
            due()
            return
        wait = max(0.0, last + _APART - self._calls.clock.monotonic()) + _SPREAD * self._calls.jitter()
        with self._calls.lock:
            earlier = self._timers.pop(place, None)
            if earlier is not None:
                earlier.cancel()
            if not self._calls.closed:
                self._timers[place] = self._calls.clock.call_later(wait, due)


def tell_recipients(calls: KmsCalls, namespace: str, key_set: KeySet | None, key: SealingKey) -> None:
    """Report how many recipients the key in use has, and log which it lacks."""
    count, lacking = len(key.record.recipients), len(key.lacks)
    if count + lacking > 1:
        key_id = key_set.key.key_id if key_set is not None else ""
        report(calls.observer, Event("key", "ok", namespace, key_id, recipients=count, lacking=lacking))
    for lack in key.lacks:
        logger.error(
            "%s does not wrap, and sealing goes on without it: %s (key %s). What is sealed meanwhile has %d of %d "
            "recipients, for ever; it is tried again after a minute, and less and less often; %s",
            lack.setting,
            lack.error,
            lack.error.key_id or lack.master.key_id,
            count,
            count + lacking,
            fix(type(lack.error).__name__) or "`envelope-codec doctor` says more",
        )
