"""The failure of an exception that a failure converter can't handle."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any, TypeGuard, TypeVar

import nexusrpc
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import NexusHandlerErrorRetryBehavior
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, CancelledError, FailureError

from envelope_codec.temporal.failure_attributes import MAX_LEVELS, STOPS, escape_surrogates

_RETRY = {
    None: NexusHandlerErrorRetryBehavior.NEXUS_HANDLER_ERROR_RETRY_BEHAVIOR_UNSPECIFIED,
    True: NexusHandlerErrorRetryBehavior.NEXUS_HANDLER_ERROR_RETRY_BEHAVIOR_RETRYABLE,
    False: NexusHandlerErrorRetryBehavior.NEXUS_HANDLER_ERROR_RETRY_BEHAVIOR_NON_RETRYABLE,
}

_T = TypeVar("_T")


def make_fallback(exception: BaseException) -> Failure:
    """Return a failure of ``exception`` and its causes, without details. Never raises.

    It has what workflows and retry policies look at: kind of error, type name, whether it may be tried again. Message
    and stack trace are in it in clear, for `failure_attributes.hide` to move. A chain of causes ends where it comes
    back to one of them.
    """
    first = failure = Failure()
    seen: set[int] = set()
    error: BaseException | None = exception
    while error is not None:
        seen.add(id(error))
        _fill(failure, error)
        error = None if failure.HasField("cause") else _find_cause(error)
        if error is None or id(error) in seen or len(seen) >= MAX_LEVELS:
            break
        failure = failure.cause
    return first


def replace_unruly(exception: BaseException) -> BaseException:
    """Return ``exception``, or an `ApplicationError` that says the same where ``exception`` is unruly.

    An exception is unruly if its class or an attribute of it can't be asked for: the question itself raises. The SDK
    asks some such questions before any failure converter runs, and stores in clear what is raised then.
    """
    try:
        isinstance(exception, (FailureError, BrokenExecutor))  # asks it for its class
        if isinstance(exception, ApplicationError):
            bool(exception.category == ApplicationErrorCategory.BENIGN)
        return exception
    except STOPS:
        raise
    except BaseException:
        substitute = ApplicationError(
            _get_or("", lambda: _get_message(exception)),
            type=_get_or(type(exception).__name__, lambda: _get_type_name(exception)),
            non_retryable=_get_or(False, lambda: bool(getattr(exception, "non_retryable", False))),
        )
        substitute.__cause__ = _find_cause(exception)
        return substitute.with_traceback(_get_or(None, lambda: exception.__traceback__))


def is_too_deep(exception: BaseException) -> bool:
    """Whether the chain of causes comes back to one of them, or is longer than can be sent.

    The SDK follows causes by recursion. Without an end, that takes seconds, and a workflow that takes two seconds is
    taken for stuck.
    """
    seen: set[int] = set()
    error: BaseException | None = exception
    while error is not None:
        seen.add(id(error))
        error = _find_cause(error)
        if error is not None and (id(error) in seen or len(seen) == MAX_LEVELS):
            return True
    return False


def _fill(failure: Failure, error: BaseException) -> None:
    """Fill ``failure`` from ``error`` alone, without its causes."""
    try:
        _OneLevel().fill(failure, error)
    except STOPS:
        raise
    except BaseException:
        failure.Clear()
        _fill_by_hand(failure, error)


def _is_a(error: BaseException, kind: type[_T]) -> TypeGuard[_T]:
    """Return `isinstance`. Python asks ``error`` itself for its class, which may raise: then it is none of ``kind``."""
    return _get_or(False, lambda: isinstance(error, kind))


class _NoDetails(PayloadConverter):
    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        return []

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        return []


class _OneLevel(DefaultFailureConverter):
    """The SDK's default failure converter, without details and causes."""

    def fill(self, failure: Failure, error: BaseException) -> None:
        """Fill ``failure`` from ``error``. Details that it lacks stay unset."""
        super().to_failure(error, _NoDetails(), failure)
        for info, details in (
            (failure.application_failure_info, "details"),
            (failure.timeout_failure_info, "last_heartbeat_details"),
            (failure.canceled_failure_info, "details"),
        ):
            payloads = getattr(info, details)
            if info.HasField(details) and not payloads.payloads:  # type: ignore[arg-type]
                info.ClearField(details)  # type: ignore[arg-type]

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """Leave out a cause, which the SDK gives to this method."""


def _fill_by_hand(failure: Failure, error: BaseException) -> None:
    failure.message = escape_surrogates(_get_or("", lambda: _get_message(error)))
    failure.stack_trace = escape_surrogates(
        _get_or("", lambda: "\n".join(traceback.format_tb(error.__traceback__)) if error.__traceback__ else "")
    )
    if _is_a(error, CancelledError):
        failure.canceled_failure_info.SetInParent()
    elif _is_a(error, nexusrpc.HandlerError):
        info = failure.nexus_handler_failure_info
        info.type = _get_or(nexusrpc.HandlerErrorType.INTERNAL.name, lambda: error.type.name)
        info.retry_behavior = _get_or(_RETRY[None], lambda: _RETRY[error.retryable_override])
    else:
        application = failure.application_failure_info
        application.type = escape_surrogates(_get_or(type(error).__name__, lambda: _get_type_name(error)))
        application.non_retryable = _get_or(False, lambda: bool(getattr(error, "non_retryable", False)))


def _get_message(error: BaseException) -> str:
    message = error.message if isinstance(error, FailureError | nexusrpc.HandlerError) else str(error)
    return message if isinstance(message, str) else ""


def _get_type_name(error: BaseException) -> str:
    """Return the type that an application error was given, if it is a text or a class, else the name of its class."""
    name: object = error.type if isinstance(error, ApplicationError) else None
    if isinstance(name, type):
        return name.__name__
    return name if isinstance(name, str) and name else type(error).__name__


def _find_cause(error: BaseException) -> BaseException | None:
    """Return what the SDK takes for the cause. An error that came from a failure has its causes in that failure."""

    def get_cause() -> BaseException | None:
        if not isinstance(error, FailureError):
            return error.__cause__
        if error.failure is not None:
            return None
        return error.__cause__ or (None if error.__suppress_context__ else error.__context__)

    found = _get_or(None, get_cause)
    return found if isinstance(found, BaseException) else None


def _get_or(default: _T, get: Callable[[], _T]) -> _T:
    """Return what ``get`` returns, or ``default`` if it raises. A user's own class of exceptions may raise anywhere."""
    try:
        return get()
    except STOPS:
        raise
    except BaseException:
        return default
