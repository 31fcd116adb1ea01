"""Turns of lookups: a keystore that is slow holds up half of the threads at most, which have KMSs to ask as well."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from envelope_codec._process import renew_after_fork

_AT_ONCE = 16
_SLOW = 0.25  # seconds


class LookupTurns:
    """Lets so many lookups be under way at once. While the keystore is quick, the others wait for their turn.

    Once it is slow, they are told so at once: a thread that waits for a turn is no use to those who need no keystore.

    Args:
        monotonic: the clock.
    """

    _free: threading.Condition
    _begun: dict[object, float]

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        renew_after_fork(self, _free=threading.Condition, _begun=dict)

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Have a turn as long as this lasts. False: the keystore is slow, and as many as may be wait for it."""
        turn = object()
        with self._free:
            self._free.wait_for(lambda: self._has_room or self._is_slow, _SLOW)
            if taken := self._has_room:
                self._begun[turn] = self._monotonic()
        try:
            yield taken
        finally:
            with self._free:
                if self._begun.pop(turn, None) is not None:
                    self._free.notify()

    @property
    def _has_room(self) -> bool:
        return len(self._begun) < _AT_ONCE

    @property
    def _is_slow(self) -> bool:
        return self._monotonic() - min(self._begun.values()) >= _SLOW
