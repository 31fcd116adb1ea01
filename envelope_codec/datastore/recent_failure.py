"""A failure that is remembered for a while, so that not every caller runs into it once more."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Generic, TypeVar

_Error = TypeVar("_Error", bound=Exception)

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0


class RecentFailure(Generic[_Error]):
    """Remembers how something failed, until it is to be tried again: after a second, then later, up to a minute.

    Credentials are such a thing. A failing source of them runs command lines, waits for servers that are not there, and
    may lock an account that is asked for too often with a wrong secret.

    Args:
        clock: monotonic seconds.
        jitter: a number from 0 to 1.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, jitter: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._count = 0
        self._until = 0.0
        self._error: _Error | None = None

    @property
    def error(self) -> _Error | None:
        """The failure, if it is too early to try again. Raise a new exception for it: this one is shared."""
        return self._error if self._clock() < self._until else None

    def remember(self, error: _Error) -> None:
        """Remember ``error``, without its causes and frames, which hold what was tried with."""
        error.__traceback__ = error.__cause__ = error.__context__ = None
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._count, 16))
        self._count += 1
        self._error, self._until = error, self._clock() + pause * (1.0 + 0.5 * self._jitter())

    def forget(self) -> None:
        """Forget it: the same thing has succeeded."""
        self._count, self._error = 0, None
