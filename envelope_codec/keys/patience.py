"""Patience: where user code has run, a refusal to seal is waited out. To give up would run that code a second time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

from envelope_codec._backoff import lengthen

_SHORTEST = 0.1  # seconds
_SPREAD = 0.25

_code_has_run: ContextVar[bool] = ContextVar("code_has_run", default=False)

_spent: WeakSet[asyncio.Task[Any]] = WeakSet()
"""Tasks whose patience has ended. What they seal after that is the report of it, and gets no patience."""


def begin() -> None:
    """Mark the running task: from now on, what it seals is what user code has left."""
    _code_has_run.set(True)


@contextmanager
def after_user_code() -> Iterator[None]:
    """Mark the tasks that are made in this block, as `begin` does."""
    token = _code_has_run.set(True)
    try:
        yield
    finally:
        _code_has_run.reset(token)


def is_left() -> bool:
    """Say whether the caller waits where the KMS refuses."""
    return _code_has_run.get() and asyncio.current_task() not in _spent


def spend() -> None:
    """Take note that the running task has waited in vain."""
    task = asyncio.current_task()
    if task is not None:
        _spent.add(task)


def pause(refusal_ttl: float, remaining: float, jitter: float) -> float:
    """Return the seconds until a KMS that has refused is asked again.

    Args:
        refusal_ttl: how long a refusal holds.
        remaining: until the caller's deadline, which leaves time for another try at least.
        jitter: a number from 0 to 1.
    """
    seconds = refusal_ttl if refusal_ttl < remaining else remaining / 2
    return max(_SHORTEST, lengthen(seconds, jitter, _SPREAD))
