"""What Temporal is told of an exception that no failure converter can make a failure of."""

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

from envelope_codec.temporal.failure_attributes import MAX_LEVELS, STOPS, printable

_RETRY = {
    None: NexusHandlerErrorRetryBehavior.NEXUS_HANDLER_ERROR_RETRY_BEHAVIOR_UNSPECIFIED,
    True: NexusHandlerErrorRetryBehavior.NEXUS_HANDLER_ERROR_RETRY_BEHAVIOR_RETRYABLE,
    False: NexusHandlerErrorRetryBehavior.NEXUS_HANDLER_ERROR_RETRY_BEHAVIOR_NON_RETRYABLE,
}

_T = TypeVar("_T")


def fallback(exception: BaseException) -> Failure:
    """A failure of ``exception`` and its causes, without details. Never raises.

    It has what workflows and retry policies go by: kind of error, type name, whether it may be tried again. Message and
    stack trace are in it in clear, for `failure_attributes.hide` to move. Causes that repeat themselves are cut.
    """
    first = failure = Failure()
    seen: set[int] = set()
    error: BaseException | None = exception
    while error is not None:
        seen.add(id(error))
        _fill(failure, error)
        error = None if failure.HasField("cause") else _cause(error)
        if error is None or id(error) in seen or len(seen) >= MAX_LEVELS:
            break
        failure = failure.cause
    return first


def tellable(exception: BaseException) -> BaseException:
    """``exception`` itself, or one that says the same, where the SDK's own questions about it raise.

    The SDK asks some before any failure converter, and stores in clear what is raised then.
    """
    try:
        isinstance(exception, (FailureError, BrokenExecutor))  # asks it for its class
        if isinstance(exception, ApplicationError):
            bool(exception.category == ApplicationErrorCategory.BENIGN)
        return exception
    except STOPS:
        raise
    except BaseException:
        told = ApplicationError(
            _or_else("", lambda: _message(exception)),
            type=_or_else(type(exception).__name__, lambda: _type_name(exception)),
            non_retryable=_or_else(False, lambda: bool(getattr(exception, "non_retryable", False))),
        )
        told.__cause__ = _cause(exception)
        return told.with_traceback(_or_else(None, lambda: exception.__traceback__))


def goes_too_deep(exception: BaseException) -> bool:
    """Whether causes repeat themselves, or are more than can be sent. The SDK goes through them by recursion.

    That takes seconds where it does not end, and a workflow that takes two is taken for stuck.
    """
    seen: set[int] = set()
    error: BaseException | None = exception
    while error is not None:
        seen.add(id(error))
        error = _cause(error)
        if error is not None and (id(error) in seen or len(seen) == MAX_LEVELS):
            return True
    return False


def _fill(failure: Failure, error: BaseException) -> None:
    """Make ``failure`` of ``error`` alone."""
    try:
        _OneLevel().fill(failure, error)
    except STOPS:
        raise
    except BaseException:
        failure.Clear()
        _fill_by_hand(failure, error)


def _is_a(error: BaseException, kind: type[_T]) -> TypeGuard[_T]:
    """`isinstance`, which asks ``error`` itself for its class where that is no subclass."""
    return _or_else(False, lambda: isinstance(error, kind))


class _NoDetails(PayloadConverter):
    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        return []

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        return []


class _OneLevel(DefaultFailureConverter):
    """The SDK's default, which leaves details and causes alone."""

    def fill(self, failure: Failure, error: BaseException) -> None:
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
        """A cause, which the SDK gives to this method."""


def _fill_by_hand(failure: Failure, error: BaseException) -> None:
    failure.message = printable(_or_else("", lambda: _message(error)))
    failure.stack_trace = printable(
        _or_else("", lambda: "\n".join(traceback.format_tb(error.__traceback__)) if error.__traceback__ else "")
    )
    if _is_a(error, CancelledError):
        failure.canceled_failure_info.SetInParent()
    elif _is_a(error, nexusrpc.HandlerError):
        info = failure.nexus_handler_failure_info
        info.type = _or_else(nexusrpc.HandlerErrorType.INTERNAL.name, lambda: error.type.name)
        info.retry_behavior = _or_else(_RETRY[None], lambda: _RETRY[error.retryable_override])
    else:
        application = failure.application_failure_info
        application.type = printable(_or_else(type(error).__name__, lambda: _type_name(error)))
        application.non_retryable = _or_else(False, lambda: bool(getattr(error, "non_retryable", False)))


def _message(error: BaseException) -> str:
    told = error.message if isinstance(error, FailureError | nexusrpc.HandlerError) else str(error)
    return told if isinstance(told, str) else ""


def _type_name(error: BaseException) -> str:
    """The type that an application error was given, if it is a text. The words of any other object are not a type's."""
    name: object = error.type if isinstance(error, ApplicationError) else None
    if isinstance(name, type):
        return name.__name__
    return name if isinstance(name, str) and name else type(error).__name__


def _cause(error: BaseException) -> BaseException | None:
    """What the SDK takes for the cause. An error that came from a failure brings its causes in that."""

    def cause() -> BaseException | None:
        if not isinstance(error, FailureError):
            return error.__cause__
        if error.failure is not None:
            return None
        return error.__cause__ or (None if error.__suppress_context__ else error.__context__)

    found = _or_else(None, cause)
    return found if isinstance(found, BaseException) else None


def _or_else(default: _T, get: Callable[[], _T]) -> _T:
    """What ``get`` returns, or ``default`` if it raises. An exception of a user's own class may raise anywhere."""
    try:
        return get()
    except STOPS:
        raise
    except BaseException:
        return default
