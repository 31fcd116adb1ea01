"""The keyrings that an observer watches, and the timer that has gauges set from their status."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Protocol

from envelope_codec._frames import text_of
from envelope_codec._process import renew_after_fork
from envelope_codec.keys.clock import Clock
from envelope_codec.keys.status import KeyringStatus
from envelope_codec.metrics.labels import Labels
from envelope_codec.metrics.samples import Series, take_samples
from envelope_codec.observe import logger

SECONDS = 5.0
"""Seconds from one look at a keyring to the next, where a meter has to be told the values of gauges."""


class Watched(Protocol):
    """What is watched: a `Keyring`."""

    @property
    def clock(self) -> Clock: ...

    def status(self) -> KeyringStatus: ...


class Watch:
    """The keyrings that are watched. It keeps none of them alive.

    Args:
        labels: for the samples.
    """

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._keyrings: weakref.WeakSet[Watched] = weakref.WeakSet()

    def add(self, keyring: Watched) -> None:
        """Watch ``keyring`` as well."""
        self._keyrings.add(keyring)

    def __len__(self) -> int:
        return len(self._keyrings)

    def living(self) -> list[Watched]:
        """List those that are alive."""
        return list(self._keyrings)

    def samples(self) -> dict[Series, float]:
        """Return what gauges say of them now."""
        return take_samples([keyring.status() for keyring in self.living()], self._labels)


class GaugeTimer:
    """Has gauges set every few seconds, in the thread that a watched keyring has for timers.

    It begins with the first event of a process, so that a keyring that is made before a fork has no thread before it.
    It ends when the keyring is closed or gone.

    Args:
        watch: the keyrings.
        set_gauge: tells a meter the value of one series. A series that is gone gets a last value of 0, as a meter that
            is told of gauges keeps what it was told.
    """

    _lock: threading.Lock
    _ticking: weakref.WeakSet[Watched]

    def __init__(self, watch: Watch, set_gauge: Callable[[Series, float], object]) -> None:
        self._watch = watch
        self._set = set_gauge
        self._told: set[Series] = set()
        renew_after_fork(self, _lock=threading.Lock, _ticking=weakref.WeakSet)

    def begin(self) -> None:
        """Begin to look at those keyrings that are not looked at yet. It is cheap where there are none."""
        if len(self._ticking) == len(self._watch):
            return
        with self._lock:
            begun = [keyring for keyring in self._watch.living() if keyring not in self._ticking]
            self._ticking.update(begun)
        for keyring in begun:
            self._schedule(keyring, 0.0)

    def update(self) -> None:
        """Set all gauges now."""
        samples = self._watch.samples()
        for series in self._told - samples.keys():
            self._set(series, 0.0)
        for series, value in samples.items():
            self._set(series, value)
        self._told = set(samples)

    def _schedule(self, keyring: Watched, delay: float) -> None:
        keyring.clock.call_later(delay, partial(_tick, weakref.ref(self), weakref.ref(keyring)))


def _tick(timer: weakref.ref[GaugeTimer], watched: weakref.ref[Watched]) -> None:
    """Set all gauges, and come again. Holds neither: the thread of a keyring must not keep the keyring alive."""
    gauges, keyring = timer(), watched()
    if gauges is None or keyring is None or keyring.status().closed:
        return
    try:
        gauges.update()
    except Exception as error:  # of the meter, which is not ours
        logger.error("gauges can't be set: %s", text_of(error))
    gauges._schedule(keyring, SECONDS)
