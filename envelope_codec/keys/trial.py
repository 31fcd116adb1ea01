"""Trials: whether a master key that a wrapping key lacks wraps again, found out by few calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Hashable, Iterable, Mapping
from typing import NamedTuple

from envelope_codec.errors import EnvelopeError
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.clock import Timer
from envelope_codec.keys.flight import Flight
from envelope_codec.kms import MasterKey
from envelope_codec.observe import logger

_FIRST = 60.0  # seconds
_LONGEST = 3_600.0
_SPREAD = 0.25

_Name = tuple[int, tuple[tuple[str, str], ...]]


class Lack(NamedTuple):
    """A master key that was to wrap a key and did not.

    Attributes:
        master: which.
        setting: its setting.
        error: why it did not.
    """

    master: MasterKey
    setting: str
    error: EnvelopeError


class Want(NamedTuple):
    """What a trial is for: a key that lacks a recipient.

    Attributes:
        sealed: how many payloads the key has sealed; None if it is not in use any more.
        wake: asks for `Trials.used` when the key is used next.
        served: called once the master key wraps again.
    """

    sealed: Callable[[], int | None]
    wake: Callable[[], None]
    served: Callable[[], None]


class _Trial:
    """State of one master key and context. The lock of the calls guards it."""

    __slots__ = ("asleep", "context", "failures", "flying", "master", "seen", "timer", "wants")

    def __init__(self, master: MasterKey, context: Mapping[str, str]) -> None:
        self.master = master
        self.context = context
        self.failures = 0
        self.flying = self.asleep = False
        self.timer: Timer | None = None
        self.wants: dict[Hashable, Want] = {}
        self.seen: dict[Hashable, int] = {}


class Trials:
    """The master keys that keys in use lack, each tried by one call for all keys with the same context.

    The first trial comes after a minute, and each that fails doubles the time to the next, up to an hour. Where nothing
    is sealed, nothing is tried: the next payload brings that forward.

    Args:
        calls: makes the calls.
        attempt: has a master key wrap something for a context. Raises `EnvelopeError` if it does not.
    """

    def __init__(self, calls: KmsCalls, attempt: Callable[[MasterKey, Mapping[str, str]], None]) -> None:
        self._calls = calls
        self._attempt = attempt
        self._trials: dict[_Name, _Trial] = {}
        self._names: dict[Hashable, set[_Name]] = {}  # by place; some of them may have ended

    def settle(self, place: Hashable, masters: Iterable[MasterKey], context: Mapping[str, str], want: Want) -> None:
        """Try these ``masters`` for ``want``, and none else for ``place``."""
        bound = tuple(sorted(context.items()))
        names = {(id(master), bound): master for master in masters}
        with self._calls.lock:
            self.forget(place, but=names)
            if names:
                self._names[place] = set(names)
            for name, master in names.items():
                trial = self._trials.setdefault(name, _Trial(master, dict(context)))
                trial.wants[place] = want
                trial.seen[place] = 0
                if trial.timer is None and not trial.flying:
                    trial.asleep = False
                    self._schedule(name, trial)

    def forget(self, place: Hashable, *, but: Container[_Name] = ()) -> None:
        """End what is tried for ``place``, the trials of these names apart. Called under the lock."""
        for name in self._names.pop(place, ()):
            trial = self._trials.get(name)
            if trial is not None and name not in but and trial.wants.pop(place, None) is not None:
                trial.seen.pop(place, None)
                self._drop_idle(name, trial)

    def used(self, place: Hashable) -> None:
        """Something has been sealed at ``place``: begin the trials that have waited for that."""
        with self._calls.lock:
            named = [(name, self._trials.get(name)) for name in self._names.get(place, ())]
            due = [(name, trial) for name, trial in named if trial and trial.asleep and place in trial.wants]
            for _, trial in due:
                trial.asleep, trial.flying = False, True
        for name, trial in due:
            self._fly(name, trial)

    def close(self) -> None:
        """Cancel what is scheduled."""
        with self._calls.lock:
            trials, self._trials = self._trials, {}
            self._names.clear()
            for trial in trials.values():
                if trial.timer is not None:
                    trial.timer.cancel()

    def _schedule(self, name: _Name, trial: _Trial) -> None:
        """Called under the lock."""
        if self._calls.closed:
            return
        delay = min(_LONGEST, _FIRST * 2.0 ** min(trial.failures, 16)) * (1 + _SPREAD * self._calls.jitter())
        trial.timer = self._calls.clock.call_later(delay, lambda: self._due(name, trial))

    def _drop_idle(self, name: _Name, trial: _Trial) -> None:
        """Called under the lock."""
        if not trial.wants:
            if trial.timer is not None:
                trial.timer.cancel()
            self._trials.pop(name, None)

    def _due(self, name: _Name, trial: _Trial) -> None:
        counts = {place: want.sealed() for place, want in list(trial.wants.items())}
        with self._calls.lock:
            trial.timer = None
            if self._calls.closed or self._trials.get(name) is not trial:
                return
            for place, count in counts.items():
                if count is None:
                    trial.wants.pop(place, None)
                    trial.seen.pop(place, None)
            in_use = any(
                count is not None and count > trial.seen.get(place, 0) and place in trial.wants
                for place, count in counts.items()
            )
            trial.seen.update({place: count for place, count in counts.items() if count is not None})
            trial.flying, trial.asleep = in_use, not in_use
            wants = list(trial.wants.values())
            self._drop_idle(name, trial)
        if not wants:
            return
        if in_use:
            self._fly(name, trial)
        else:
            for want in wants:
                want.wake()

    def _fly(self, name: _Name, trial: _Trial) -> None:
        def attempt() -> None:
            try:
                self._attempt(trial.master, trial.context)
            except Exception as error:
                if not isinstance(error, EnvelopeError):
                    kind = type(error).__name__
                    logger.error("the provider of %s failed unexpectedly in a trial: %s", trial.master.key_id, kind)
                with self._calls.lock:
                    trial.flying = False
                    trial.failures += 1
                    if self._trials.get(name) is trial:
                        self._schedule(name, trial)
                return
            with self._calls.lock:
                trial.flying = False
                wants = list(trial.wants.values())
                if self._trials.get(name) is trial:
                    del self._trials[name]
            for want in wants:
                want.served()

        self._calls.fly(Flight(attempt, -math.inf), lambda: None)
