"""Failures about the store itself. They are not put into the store, since it is the store that fails."""

from __future__ import annotations

from contextvars import ContextVar

from temporalio.exceptions import ApplicationError

from envelope_codec.errors import StoreRefused, StoreUnavailable
from envelope_codec.temporal.failure_attributes import STOPS

INLINE = 64 * 2**10
"""Sealed payloads of such a failure that have at most so many bytes are kept by Temporal."""

_STORE_ERRORS = (StoreUnavailable, StoreRefused)
_STORE_ERROR_NAMES = frozenset(error.__name__ for error in _STORE_ERRORS)
_LONGEST_CHAIN = 100

failing: ContextVar[bool] = ContextVar("a_failure_about_the_store", default=False)
"""Whether a failure about the store is being encoded in this task."""


def note_failure(exception: BaseException) -> None:
    """Set `failing` for this task, where ``exception`` is about to be encoded.

    The SDK encodes the failure of an activity, a Nexus operation or an asynchronous completion last in a task. So the
    value holds until the task ends.
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
        named = isinstance(exception, ApplicationError) and exception.type in _STORE_ERROR_NAMES
        if named or isinstance(exception, _STORE_ERRORS):
            return True
        exception = exception.__cause__ or exception.__context__
    return False
