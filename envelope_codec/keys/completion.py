"""Completion: a wrapping key that lacks recipients is replaced once these can be had."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.clock import Timer
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.sealing_key import AtNextUse, Scope, SealingKey, WrappingKey
from envelope_codec.keys.trial import Trials, Want
from envelope_codec.kms import MasterKey
from envelope_codec.observe import Event, fix, logger, report

_APART = 3_600.0  # seconds from one replacement to the next
_SPREAD = 600.0  # seconds over which the next is spread
_REMEMBERED = 10_000  # scopes


class Completion:
    """Watches the keys in use, and has a key replaced once the master keys that it lacks wrap again.

    The first time it is replaced at once. After that, a scope has one such replacement an hour at most, spread over ten
    minutes: a master key that comes and goes would make every reader open one more record each time.

    Args:
        calls: makes the calls.
        attempt: has a master key wrap something for a context. Raises `EnvelopeError` if it does not.
        prepare: gets the key that follows one in use.
    """

    def __init__(
        self,
        calls: KmsCalls,
        attempt: Callable[[MasterKey, Mapping[str, str]], None],
        prepare: Callable[[Scope, WrappingKey], object],
    ) -> None:
        self._calls = calls
        self._prepare = prepare
        self._trials = Trials(calls, attempt)
        self._replaced_at: dict[Scope, float] = {}  # monotonic seconds
        self._timers: dict[Scope, Timer] = {}

    def watch(self, scope: Scope, key: WrappingKey, in_use: Callable[[], bool]) -> None:
        """Watch ``key`` instead of the one that was in use for ``scope``, for as long as it is ``in_use``."""

        def sealed() -> int | None:
            return key.sealed if in_use() else None

        def wake() -> None:
            key.at_next_use = AtNextUse.TRY

        def served() -> None:
            self._replace(scope, key, in_use)

        context = dict(key.record.context)
        self._trials.settle(scope, [lack.master for lack in key.lacks], context, Want(sealed, wake, served))

    def start_trials(self, scope: Scope) -> None:
        """Begin the trials for ``scope`` that have waited until something is sealed there."""
        self._trials.start(scope)

    def forget(self, scope: Scope) -> None:
        """Take note that nothing is sealed in ``scope`` any more. Called under the lock."""
        self._trials.forget(scope)
        timer = self._timers.pop(scope, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """Cancel what is scheduled."""
        self._trials.close()
        with self._calls.lock:
            timers, self._timers = self._timers, {}
        for timer in timers.values():
            timer.cancel()

    def _replace(self, scope: Scope, key: WrappingKey, in_use: Callable[[], bool]) -> None:
        """Have ``key`` replaced: now, or as soon as the last replacement is an hour ago."""

        def replace_now() -> None:
            with self._calls.lock:
                self._timers.pop(scope, None)
                if self._calls.closed or not in_use():
                    return
                if scope not in self._replaced_at and len(self._replaced_at) >= _REMEMBERED:
                    del self._replaced_at[next(iter(self._replaced_at))]
                self._replaced_at[scope] = self._calls.clock.monotonic()
            self._prepare(scope, key)

        last = self._replaced_at.get(scope)
        if last is None:
            replace_now()
            return
        wait = max(0.0, last + _APART - self._calls.clock.monotonic()) + _SPREAD * self._calls.jitter()
        with self._calls.lock:
            earlier = self._timers.pop(scope, None)
            if earlier is not None:
                earlier.cancel()
            if not self._calls.closed:
                self._timers[scope] = self._calls.clock.call_later(wait, replace_now)


def report_recipients(calls: KmsCalls, namespace: str, key_set: KeySet | None, key: SealingKey) -> None:
    """Report how many recipients the key in use has, and log which recipients it lacks."""
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
