"""Trials: few calls find out whether a master key that a wrapping key lacks wraps again."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from envelope_codec._backoff import Backoff, lengthen
from envelope_codec.errors import EnvelopeError
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.clock import Timer
from envelope_codec.keys.flight import Flight
from envelope_codec.kms import MasterKey
from envelope_codec.observe import logger

_BACKOFF = Backoff(60.0, 3_600.0)
_SPREAD = 0.25

_Name = tuple[int, tuple[tuple[str, str], ...]]


class Lack(NamedTuple):
    """A master key that was to wrap a key and did not.

    Attributes:
        master: which master key.
        setting: the setting that names it.
        error: why it did not.
    """

    master: MasterKey
    setting: str
    error: EnvelopeError


class Want(NamedTuple):
    """A key that lacks a recipient, for whose sake a trial is made.

    Attributes:
        sealed: how many payloads the key has sealed; None if it is not in use any more.
        wake: asks for `Trials.start` when the key is used next.
        served: called once the master key wraps again.
    """

    sealed: Callable[[], int | None]
    wake: Callable[[], None]
    served: Callable[[], None]


class TrialState(Enum):
    """State of a trial: what it waits for."""

    SCHEDULED = "a timer"
    ASLEEP = "until something is sealed"
    CALLING = "the KMS's answer"


class _Trial:
    """One master key and context, tried for all keys in use that lack it. The lock of the calls guards it."""

    __slots__ = ("_seen", "context", "failures", "master", "state", "timer", "wants")

    def __init__(self, master: MasterKey, context: Mapping[str, str]) -> None:
        self.master = master
        self.context = context
        self.failures = 0
        self.state: TrialState | None = None  # it has not begun
        self.timer: Timer | None = None
        self.wants: dict[Hashable, Want] = {}
        self._seen: dict[Hashable, int] = {}

    def add(self, scope: Hashable, want: Want) -> None:
        """Take in a key in use."""
        self.wants[scope] = want
        self._seen[scope] = 0

    def drop(self, scope: Hashable) -> bool:
        """Let go of a key. Return whether there was one."""
        self._seen.pop(scope, None)
        return self.wants.pop(scope, None) is not None

    def count(self, counts: Mapping[Hashable, int | None]) -> bool:
        """Compare how much the keys have sealed with the last time. Return whether any has sealed more.

        Lets go of those that are not in use any more.
        """
        used = False
        for scope, count in counts.items():
            if count is None:
                self.drop(scope)
            elif scope in self.wants:
                used = used or count > self._seen.get(scope, 0)
                self._seen[scope] = count
        return used


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
        self._names: dict[Hashable, set[_Name]] = {}  # by scope; some of them may have ended

    def settle(self, scope: Hashable, masters: Iterable[MasterKey], context: Mapping[str, str], want: Want) -> None:
        """Try these ``masters`` for ``want``, and no others for ``scope``."""
        bound = tuple(sorted(context.items()))
        names = {(id(master), bound): master for master in masters}
        with self._calls.lock:
            self.forget(scope, but=names)
            if names:
                self._names[scope] = set(names)
            for name, master in names.items():
                trial = self._trials.setdefault(name, _Trial(master, dict(context)))
                trial.add(scope, want)
                if trial.state is None or trial.state is TrialState.ASLEEP:
                    self._schedule(name, trial)

    def forget(self, scope: Hashable, *, but: Container[_Name] = ()) -> None:
        """End what is tried for ``scope``, except the trials of the names ``but``. Called under the lock."""
        for name in self._names.pop(scope, ()):
            trial = self._trials.get(name)
            if trial is not None and name not in but and trial.drop(scope):
                self._drop_idle(name, trial)

    def start(self, scope: Hashable) -> None:
        """Begin the trials that have waited until something is sealed in ``scope``."""
        with self._calls.lock:
            named = [(name, self._trials.get(name)) for name in self._names.get(scope, ())]
            due = [
                (name, trial)
                for name, trial in named
                if trial is not None and trial.state is TrialState.ASLEEP and scope in trial.wants
            ]
            for _, trial in due:
                trial.state = TrialState.CALLING
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
        """Set the timer of ``trial``. Called under the lock."""
        if self._calls.closed:
            return
        delay = lengthen(_BACKOFF.seconds(trial.failures + 1), self._calls.jitter(), _SPREAD)
        trial.state = TrialState.SCHEDULED
        trial.timer = self._calls.clock.call_later(delay, lambda: self._fire(name, trial))

    def _drop_idle(self, name: _Name, trial: _Trial) -> None:
        """End ``trial``, if it is for no key any more. Called under the lock."""
        if not trial.wants:
            if trial.timer is not None:
                trial.timer.cancel()
            self._trials.pop(name, None)

    def _fire(self, name: _Name, trial: _Trial) -> None:
        """Try the master key if anything was sealed meanwhile; else let the trial sleep until something is."""
        counts = {scope: want.sealed() for scope, want in list(trial.wants.items())}
        with self._calls.lock:
            trial.timer = None
            if self._calls.closed or self._trials.get(name) is not trial:
                return
            used = trial.count(counts)
            trial.state = TrialState.CALLING if used else TrialState.ASLEEP
            wants = list(trial.wants.values())
            self._drop_idle(name, trial)
        if wants and used:
            self._fly(name, trial)
        elif wants:
            for want in wants:
                want.wake()

    def _fly(self, name: _Name, trial: _Trial) -> None:
        self._calls.fly(Flight(lambda: self._call(name, trial)), lambda: None)

    def _call(self, name: _Name, trial: _Trial) -> None:
        """Try the master key. Runs in a thread."""
        try:
            self._attempt(trial.master, trial.context)
        except Exception as error:
            if not isinstance(error, EnvelopeError):
                kind = type(error).__name__
                logger.error("the provider of %s failed unexpectedly in a trial: %s", trial.master.key_id, kind)
            with self._calls.lock:
                trial.failures += 1
                if self._trials.get(name) is trial:
                    self._schedule(name, trial)
            return
        with self._calls.lock:
            wants = list(trial.wants.values())
            if self._trials.get(name) is trial:
                del self._trials[name]
        for want in wants:
            want.served()
