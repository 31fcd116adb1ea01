"""The errors that keep a replay from reading a history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from envelope_codec.errors import EnvelopeError

_errors: ContextVar[list[EnvelopeError] | None] = ContextVar("errors of a replay", default=None)


@contextmanager
def collect_errors() -> Iterator[list[EnvelopeError]]:
    """Collect what `note_error` is given in tasks that begin within the ``with`` block, for as long as they run."""
    errors: list[EnvelopeError] = []
    token = _errors.set(errors)
    try:
        yield errors
    finally:
        _errors.reset(token)


def note_error(error: EnvelopeError) -> None:
    """Keep a copy of ``error``, which has no frames, if a replay is running in this task."""
    errors = _errors.get()
    if errors is not None:
        errors.append(error.fresh())
