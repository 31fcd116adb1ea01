"""Failures about the store itself, which are not put into the store: it is what fails."""

from __future__ import annotations

from contextvars import ContextVar

from temporalio.exceptions import ApplicationError

from envelope_codec.errors import StoreRefused, StoreUnavailable
from envelope_codec.temporal.failure_attributes import STOPS

INLINE = 64 * 2**10
"""Bytes, sealed, up to which what belongs to such a failure is kept by Temporal."""

_KINDS = (StoreUnavailable, StoreRefused)
_NAMES = frozenset(kind.__name__ for kind in _KINDS)
_LONGEST_CHAIN = 100

failing: ContextVar[bool] = ContextVar("a_failure_about_the_store", default=False)
"""Whether a failure about the store is being encoded in this task."""


def note_failure(exception: BaseException) -> None:
    """Say that ``exception`` is about to be encoded in this task. The SDK encodes the failure of an activity, a Nexus
    operation or an asynchronous completion last, so that this holds until the task ends.
    """
    try:
        about_a_store = _is_about_a_store(exception)
    except STOPS:
        raise
    except BaseException:  # an exception's own attributes may raise anything
        about_a_store = False
    failing.set(about_a_store)


def _is_about_a_store(exception: BaseException | None) -> bool:
    for _ in range(_LONGEST_CHAIN):
        if exception is None:
            return False
        named = isinstance(exception, ApplicationError) and exception.type in _NAMES
        if named or isinstance(exception, _KINDS):
            return True
        exception = exception.__cause__ or exception.__context__
    return False
