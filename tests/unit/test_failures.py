"""Failure converters: no message and no stack trace stays in clear, and all of them come back."""

from __future__ import annotations

from collections.abc import Iterator

import nexusrpc
import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.converter import (
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    FailureConverter,
    PayloadConverter,
)
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, FailureError, RetryState

from envelope_codec.errors import ConfigurationError
from envelope_codec.failures import MAX_STACK_TRACE, EnvelopeFailureConverter, encoding_failures

PAYLOADS = DefaultPayloadConverter()
SECRET = "marigold"


def levels(failure: Failure) -> Iterator[Failure]:
    yield failure
    if failure.HasField("cause"):
        yield from levels(failure.cause)


def thrown(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """``error`` with a traceback and a cause, as it is caught."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def converted(error: BaseException, converter: type[FailureConverter] = EnvelopeFailureConverter) -> Failure:
    failure = Failure()
    converter().to_failure(error, PAYLOADS, failure)
    return failure


def restored(failure: Failure, converter: type[FailureConverter] = EnvelopeFailureConverter) -> FailureError:
    error = converter().from_failure(failure, PAYLOADS)
    assert isinstance(error, FailureError)
    return error


def assert_hidden(failure: Failure) -> None:
    for level in levels(failure):
        assert level.HasField("encoded_attributes")
        assert (level.message, level.stack_trace) == ("Encoded failure", "")
        level.ClearField("encoded_attributes")
    assert SECRET.encode() not in failure.SerializeToString()


@pytest.mark.parametrize(
    "error",
    [
        ApplicationError(f"a {SECRET}", type="Declined"),
        ValueError(f"a {SECRET}"),
        CancelledError(f"a {SECRET}"),
        nexusrpc.HandlerError(f"a {SECRET}", type=nexusrpc.HandlerErrorType.INTERNAL),
    ],
    ids=lambda error: type(error).__name__,
)
def test_messages_and_stack_traces_are_hidden_at_each_level(error: BaseException) -> None:
    marigold = thrown(KeyError(SECRET))
    failure = converted(thrown(error, thrown(RuntimeError(SECRET), marigold)))
    assert len(list(levels(failure))) == 3
    assert_hidden(failure)


def test_everything_comes_back() -> None:
    original = ApplicationError("outer", {"why": SECRET}, type="Declined", non_retryable=True)
    error = restored(converted(thrown(original, thrown(ValueError("inner")))))
    assert isinstance(error, ApplicationError)
    assert (error.message, error.type, error.details, error.non_retryable) == (
        *("outer", "Declined"),
        *(({"why": SECRET},), True),
    )
    assert error.failure is not None
    assert "raise error from cause" in error.failure.stack_trace
    cause = error.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.message, cause.type) == ("inner", "ValueError")


def test_error_that_came_from_elsewhere_is_hidden_with_causes_that_were_in_clear() -> None:
    """As from a worker that does not encrypt yet, or does in another language and without this."""
    inner = thrown(ValueError(f"an inner {SECRET}"))
    foreign = converted(thrown(ApplicationError(f"an outer {SECRET}"), inner), DefaultFailureConverter)
    activity_error = ActivityError(
        f"a {SECRET} of an activity",
        scheduled_event_id=1,
        started_event_id=2,
        identity="",
        activity_type="",
        activity_id="",
        retry_state=RetryState.IN_PROGRESS,
    )
    wrapper = converted(activity_error, DefaultFailureConverter)
    wrapper.cause.CopyFrom(foreign)
    failure = converted(restored(wrapper))
    assert len(list(levels(failure))) == 3
    assert_hidden(Failure.FromString(failure.SerializeToString()))
    messages = []
    error: BaseException | None = restored(failure)
    while error is not None:
        messages.append(str(error))
        error = error.__cause__
    assert messages == [f"a {SECRET} of an activity", f"an outer {SECRET}", f"ValueError: an inner {SECRET}"]


def test_failure_converted_back_and_forth_stays_the_same() -> None:
    once = converted(thrown(ApplicationError(f"outer {SECRET}"), thrown(ValueError(f"inner {SECRET}"))))
    again = converted(restored(once))
    assert again == once


class Tracing(DefaultFailureConverter):
    """Takes an error's text for its stack trace."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        super().to_failure(exception, payload_converter, failure)
        failure.stack_trace = str(exception)


@pytest.mark.parametrize(("length", "whole"), [(MAX_STACK_TRACE, True), (MAX_STACK_TRACE + 1, False)])
def test_stack_trace_that_is_too_long_keeps_its_end(length: int, whole: bool) -> None:
    stack_trace = "".join(f"{number:05}" for number in range(length))[:length]
    extended = encoding_failures(Tracing)
    failure = restored(converted(ValueError(stack_trace), extended), extended).failure
    assert failure is not None
    expected = stack_trace if whole else "…" + stack_trace[1:]
    assert failure.stack_trace == expected


class Naming(DefaultFailureConverter):
    """A user's own, which gives errors a code."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        super().to_failure(exception, payload_converter, failure)
        failure.message = f"E42 {failure.message}"
        failure.source = "billing"

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        error = super().from_failure(failure, payload_converter)
        error.add_note("from billing") if hasattr(error, "add_note") else None
        return error


def test_users_extension_of_the_default_is_extended() -> None:
    extended = encoding_failures(Naming)
    assert issubclass(extended, Naming)
    failure = converted(thrown(ApplicationError(SECRET), thrown(ValueError(SECRET))), extended)
    assert [level.source for level in levels(failure)] == ["billing", "billing"]
    error = restored(failure, extended)
    assert str(error) == f"E42 {SECRET}"
    assert str(error.cause) == f"ValueError: E42 {SECRET}"
    assert_hidden(failure)


def test_same_converter_gives_the_same_class() -> None:
    assert encoding_failures(Naming) is encoding_failures(Naming)
    assert encoding_failures(DefaultFailureConverter) is EnvelopeFailureConverter


class HidingItself(FailureConverter):
    """A user's own that leaves nothing in clear, and is not derived from the default."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        failure.message = "hidden"

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        return ApplicationError(failure.message)


class HidingByOption(DefaultFailureConverter):
    def __init__(self) -> None:
        super().__init__(encode_common_attributes=True)


@pytest.mark.parametrize(
    "converter",
    [DefaultFailureConverterWithEncodedAttributes, HidingByOption, HidingItself, EnvelopeFailureConverter],
)
def test_converter_that_hides_already_is_kept(converter: type[FailureConverter]) -> None:
    assert encoding_failures(converter) is converter


class HidingTheTopOnly(FailureConverter):
    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        failure.message = "hidden"
        failure.cause.message = str(exception.__cause__)

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        return ApplicationError(failure.message)


class HidingTheMessageOnly(HidingItself):
    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        failure.message = "hidden"
        failure.stack_trace = "in clear"


@pytest.mark.parametrize("converter", [HidingTheTopOnly, HidingTheMessageOnly])
def test_converter_that_leaves_something_in_clear_and_cannot_be_extended_is_refused(
    converter: type[FailureConverter],
) -> None:
    with pytest.raises(ConfigurationError, match=f"failure converter {converter.__name__} leaves messages and stack"):
        encoding_failures(converter)
