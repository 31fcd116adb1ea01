"""A wall clock that can be put forward or back in one process, while others keep the right time."""

from __future__ import annotations

import time

_right_time = time.time
_skew = 0.0


def install() -> None:
    """Let `time.time` follow `skew`. Modules that take the function at import must be imported afterwards."""
    time.time = _skewed


def skew(seconds: float) -> None:
    """Put the clock so far ahead, or back if it is negative, of the right time."""
    global _skew
    _skew = seconds


def _skewed() -> float:
    return _right_time() + _skew
