"""Failure converters: no message and no stack trace stays in clear, and all of them come back."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import nexusrpc
import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import (
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    FailureConverter,
    PayloadConverter,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    FailureError,
    RetryState,
)

from envelope_codec.temporal.failure_attributes import MAX_LEVELS, MAX_MESSAGE
from envelope_codec.temporal.failure_converter import (
    MAX_STACK_TRACE,
    EnvelopeFailureConverter,
    hides_failures,
    make_hiding_converter,
    make_reading_converter,
)
from tests.support.unruly_errors import UNRULY, Speechless, cyclic, deep

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


def converted(error: BaseException, converter: Callable[[], FailureConverter] = EnvelopeFailureConverter) -> Failure:
    failure = Failure()
    converter().to_failure(error, PAYLOADS, failure)
    return failure


def restored(failure: Failure, converter: Callable[[], FailureConverter] = EnvelopeFailureConverter) -> FailureError:
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
    extended = make_hiding_converter(Tracing)
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
    extended = make_hiding_converter(Naming)
    assert issubclass(extended, Naming)
    failure = converted(thrown(ApplicationError(SECRET), thrown(ValueError(SECRET))), extended)
    assert [level.source for level in levels(failure)] == ["billing", "billing"]
    error = restored(failure, extended)
    assert str(error) == f"E42 {SECRET}"
    assert str(error.cause) == f"ValueError: E42 {SECRET}"
    assert_hidden(failure)


def test_same_converter_gives_the_same_class() -> None:
    assert make_hiding_converter(Naming) is make_hiding_converter(Naming)
    assert make_hiding_converter(DefaultFailureConverter) is EnvelopeFailureConverter


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
    [DefaultFailureConverterWithEncodedAttributes, HidingByOption, HidingItself],
)
def test_converter_that_hides_already_is_wrapped_as_well(converter: type[FailureConverter]) -> None:
    wrapped = make_hiding_converter(converter)
    assert hides_failures(wrapped)
    assert issubclass(wrapped, converter)
    failure = converted(thrown(ApplicationError(SECRET, Decimal("12.50")), thrown(ValueError(SECRET))), wrapped)
    assert SECRET.encode() not in without_attributes(failure)
    assert hidden(failure)


def test_wrapping_twice_is_the_same_as_once() -> None:
    for converter in (DefaultFailureConverter, Naming, HidingItself, partial(DefaultFailureConverter), default_factory):
        once = make_hiding_converter(converter)
        assert make_hiding_converter(once) is once
        assert make_hiding_converter(converter) is once


class Unhashable:
    """A factory that can't be a key of a cache."""

    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> FailureConverter:
        return DefaultFailureConverter()


def default_factory() -> FailureConverter:
    return DefaultFailureConverter()


@pytest.mark.parametrize(
    "factory",
    [
        partial(DefaultFailureConverter, encode_common_attributes=False),
        default_factory,
        lambda: Naming(),
        Unhashable(),
    ],
    ids=["partial", "function", "lambda", "unhashable"],
)
def test_whatever_makes_a_failure_converter_is_wrapped(factory: Callable[[], FailureConverter]) -> None:
    wrapped = make_hiding_converter(factory)
    assert hides_failures(wrapped)
    assert make_hiding_converter(wrapped) is wrapped
    assert_hidden(converted(thrown(ApplicationError(SECRET), thrown(ValueError(SECRET))), wrapped))


@pytest.mark.parametrize("converter", [DefaultFailureConverter, Naming, partial(DefaultFailureConverter)])
def test_wrapped_converters_are_pickled_copied_and_compared(converter: Any) -> None:
    wrapped = make_hiding_converter(converter)
    again = pickle.loads(pickle.dumps(wrapped))
    assert hides_failures(again)
    if isinstance(converter, type):
        assert again is wrapped
    assert copy.deepcopy(wrapped) is wrapped
    assert {wrapped: 1}[wrapped] == 1
    assert_hidden(converted(thrown(ApplicationError(SECRET)), again))


def test_converter_that_is_derived_from_ours_is_not_taken_for_ours() -> None:
    class Later(EnvelopeFailureConverter):
        def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
            super().to_failure(exception, payload_converter, failure)
            failure.message = str(exception)

    assert not hides_failures(Later)
    assert_hidden(converted(thrown(ApplicationError(SECRET)), make_hiding_converter(Later)))


def test_what_a_converter_has_besides_can_be_used() -> None:
    class Counting(DefaultFailureConverter):
        count = 7

    wrapped = make_hiding_converter(Counting)()
    assert isinstance(wrapped, Counting)
    assert wrapped.count == 7
    with pytest.raises(AttributeError, match="missing"):
        wrapped.missing  # type: ignore[attr-defined]  # noqa: B018


# --- converters that know nothing of encoded attributes ---------------------------------------------------------------


class Scratch(FailureConverter):
    """A user's own, that leaves all in clear and is not derived from the default."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        failure.message = str(exception)
        failure.stack_trace = "a trace"
        failure.application_failure_info.type = "Scratched"
        if exception.__cause__ is not None:
            self.to_failure(exception.__cause__, payload_converter, failure.cause)

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        error = RuntimeError(failure.message, failure.stack_trace)
        if failure.HasField("cause"):
            error.__cause__ = self.from_failure(failure.cause, payload_converter)
        return error


@pytest.mark.parametrize("wrap", [make_hiding_converter, make_reading_converter])
def test_converter_from_scratch_reads_what_it_wrote(wrap: Any) -> None:
    failure = converted(thrown(ApplicationError(f"a {SECRET}"), ValueError(SECRET)), make_hiding_converter(Scratch))
    assert_hidden(Failure.FromString(failure.SerializeToString()))
    error = wrap(Scratch)().from_failure(failure, PAYLOADS)
    assert error.args == (f"a {SECRET}", "a trace")
    assert error.__cause__ is not None
    assert error.__cause__.args == (SECRET, "a trace")


def test_converter_that_only_reads_writes_as_the_users_does() -> None:
    reading = make_reading_converter(Scratch)
    assert not hides_failures(reading)
    failure = Failure()
    reading().to_failure(ValueError(SECRET), PAYLOADS, failure)
    assert (failure.message, failure.stack_trace) == (SECRET, "a trace")
    assert not failure.HasField("encoded_attributes")
    assert make_reading_converter(make_hiding_converter(Scratch)) is reading
    assert make_hiding_converter(reading) is make_hiding_converter(Scratch)
    assert make_reading_converter(make_hiding_converter(Naming)) is Naming


class OwnAttributes(DefaultFailureConverter):
    """A user's own, that has its own way to encode attributes and leaves a text beside them."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        failure.message = f"see attributes of {SECRET}"
        failure.encoded_attributes.metadata["encoding"] = b"binary/own"
        failure.encoded_attributes.data = str(exception).encode()

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        return ApplicationError(failure.message, failure.encoded_attributes.data)


def test_own_attributes_of_a_converter_come_back_to_it() -> None:
    wrapped = make_hiding_converter(OwnAttributes)
    failure = converted(ValueError("what happened"), wrapped)
    assert SECRET.encode() not in without_attributes(failure)
    error = wrapped().from_failure(failure, PAYLOADS)
    assert isinstance(error, ApplicationError)
    assert (error.message, *error.details) == (f"see attributes of {SECRET}", b"what happened")


# --- whatever goes wrong ----------------------------------------------------------------------------------------------


def without_attributes(failure: Failure) -> bytes:
    """What is in clear: all but the payloads, which the codec seals."""
    copied = Failure()
    copied.CopyFrom(failure)
    for level in levels(copied):
        level.ClearField("encoded_attributes")
    return copied.SerializeToString()


def hidden(failure: Failure) -> bool:
    return all((level.message, level.stack_trace) == ("Encoded failure", "") for level in levels(failure))


@pytest.mark.parametrize("make", UNRULY.values(), ids=UNRULY)
@pytest.mark.parametrize(
    "converter",
    [DefaultFailureConverter, DefaultFailureConverterWithEncodedAttributes, partial(DefaultFailureConverter)],
    ids=["default", "encoding", "partial"],
)
def test_unruly_exception_ends_in_a_hidden_failure(make: Callable[[str], BaseException], converter: Any) -> None:
    wrapped = make_hiding_converter(converter)
    outer = thrown(ApplicationError(f"outer {SECRET}"), thrown(make(SECRET)))
    for error in (thrown(make(SECRET)), outer):
        failure = converted(error, wrapped)
        assert hidden(failure)
        assert SECRET.encode() not in without_attributes(failure)
        completion = WorkflowActivationCompletion()
        completion.successful.commands.add().fail_workflow_execution.failure.CopyFrom(failure)
        sent = completion.SerializeToString()
        assert len(sent) < 1_000_000
        WorkflowActivationCompletion.FromString(sent)  # as the SDK's core reads it
        wrapped().from_failure(failure, PAYLOADS)


def test_what_workflows_go_by_is_kept_without_details() -> None:
    error = ApplicationError(
        SECRET,
        Decimal("12.50"),
        type="Declined",
        non_retryable=True,
        next_retry_delay=timedelta(seconds=7),
        category=ApplicationErrorCategory.BENIGN,
    )
    again = restored(converted(thrown(error, thrown(KeyError("inner")))))
    assert isinstance(again, ApplicationError)
    assert (again.message, again.type, again.non_retryable, again.details) == (SECRET, "Declined", True, ())
    assert (again.next_retry_delay, again.category) == (timedelta(seconds=7), ApplicationErrorCategory.BENIGN)
    assert isinstance(again.cause, ApplicationError)
    assert (again.cause.message, again.cause.type) == ("'inner'", "KeyError")
    assert again.failure is not None
    assert "raise error from cause" in again.failure.stack_trace


@pytest.mark.parametrize(
    ("error", "kind", "type_name"),
    [
        (CancelledError(f"{SECRET} \ud800"), "canceled_failure_info", None),
        (CancelledError(SECRET, Decimal(1)), "canceled_failure_info", None),
        (ApplicationError(SECRET, type=ValueError), "application_failure_info", "ValueError"),  # type: ignore[arg-type]
        (ApplicationError(SECRET, type=7), "application_failure_info", "ApplicationError"),  # type: ignore[arg-type]
        (ApplicationError(f"{SECRET} \ud800", type="Declined"), "application_failure_info", "Declined"),
        (Speechless(SECRET), "application_failure_info", "Speechless"),
        (
            nexusrpc.HandlerError(f"{SECRET} \ud800", type=nexusrpc.HandlerErrorType.BAD_REQUEST),
            "nexus_handler_failure_info",
            "BAD_REQUEST",
        ),
    ],
)
def test_kind_and_type_name_are_kept(error: BaseException, kind: str, type_name: str | None) -> None:
    failure = converted(thrown(error))
    assert failure.WhichOneof("failure_info") == kind
    if type_name is not None:
        assert getattr(failure, kind).type == type_name
    assert SECRET.encode() not in without_attributes(failure)


def test_unretryable_error_stays_unretryable_where_its_text_can_not_be_sent() -> None:
    failure = converted(ApplicationError("\ud800", type="Declined", non_retryable=True))
    assert failure.application_failure_info.non_retryable
    assert str(restored(failure)) == "Declined: \\ud800"


def test_unretryable_error_of_a_nexus_handler_stays_unretryable() -> None:
    error = nexusrpc.HandlerError("\ud800", type=nexusrpc.HandlerErrorType.INTERNAL, retryable_override=False)
    again = EnvelopeFailureConverter().from_failure(converted(error), PAYLOADS)
    assert isinstance(again, nexusrpc.HandlerError)
    assert again.retryable_override is False


class Half(DefaultFailureConverter):
    """Fails when the work is half done."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        failure.message = SECRET
        failure.source = SECRET
        raise RuntimeError(f"no way with {SECRET}")


def test_converter_that_raises_leaves_nothing_and_its_words_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    failure = converted(ValueError(SECRET), make_hiding_converter(Half))
    assert SECRET.encode() not in without_attributes(failure)
    assert str(restored(failure)) == f"ValueError: {SECRET}"
    [record] = caplog.records
    assert f"no way with {SECRET}" in record.getMessage()
    assert "the failure converter Half failed" in record.getMessage()
    assert record.exc_info is None, "frames know what the failure is about"


class Stopping(DefaultFailureConverter):
    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        failure.message = SECRET
        raise KeyboardInterrupt


def test_end_of_the_process_is_not_kept_up_and_leaves_nothing() -> None:
    failure = Failure()
    with pytest.raises(KeyboardInterrupt):
        make_hiding_converter(Stopping)().to_failure(ValueError(SECRET), PAYLOADS, failure)
    assert failure == Failure()


class NoAttributes(DefaultPayloadConverter):
    """A user's own, that takes no dictionaries."""

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        if any(isinstance(value, dict) for value in values):
            raise TypeError(SECRET)
        return super().to_payloads(values)


def test_attributes_are_plain_json_where_the_payload_converter_can_not_make_them() -> None:
    failure = Failure()
    EnvelopeFailureConverter().to_failure(thrown(ApplicationError(SECRET, "details")), NoAttributes(), failure)
    assert hidden(failure)
    attributes = failure.encoded_attributes
    assert attributes.metadata["encoding"] == b"json/plain"
    assert json.loads(attributes.data)["message"] == SECRET
    error = EnvelopeFailureConverter().from_failure(failure, NoAttributes())
    assert isinstance(error, ApplicationError)
    assert (error.message, error.details) == (SECRET, ("details",))


def test_message_that_is_too_long_keeps_its_beginning() -> None:
    assert str(restored(converted(ValueError("x" * MAX_MESSAGE)))) == "ValueError: " + "x" * MAX_MESSAGE
    assert str(restored(converted(ValueError("x" * MAX_MESSAGE + "y")))) == "ValueError: " + "x" * MAX_MESSAGE + "…"


def test_causes_that_do_not_end_are_not_gone_through_by_recursion() -> None:
    class Asked(DefaultFailureConverter):
        def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
            asked.append(exception)

    asked: list[BaseException] = []
    for error in (cyclic(SECRET), deep(SECRET, MAX_LEVELS)):
        converted(error, make_hiding_converter(Asked))
    assert not asked
    converted(deep(SECRET, MAX_LEVELS - 1), make_hiding_converter(Asked))
    assert len(asked) == 1


def test_causes_beyond_the_last_that_can_be_sent_are_cut() -> None:
    assert len(list(levels(converted(deep(SECRET, MAX_LEVELS - 1))))) == MAX_LEVELS
    assert len(list(levels(converted(deep(SECRET, MAX_LEVELS))))) == MAX_LEVELS


def test_reading_is_the_converters_own_and_its_errors_know_nothing_of_the_failure() -> None:
    class Unread(DefaultFailureConverter):
        def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
            raise RuntimeError("unread")

    wrapped = make_hiding_converter(Unread)()
    with pytest.raises(RuntimeError, match="unread") as caught:
        wrapped.from_failure(converted(ValueError(SECRET)), PAYLOADS)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    ours = [frame for frame in frames if "/envelope_codec/" in frame.f_code.co_filename]
    assert ours
    assert not any(SECRET in repr(frame.f_locals) for frame in ours)


@pytest.mark.parametrize(
    "attributes",
    [
        b"no JSON",
        b"[" * 100_000,
        b"[]",
        b"{}",
        b'{"message": 7, "stack_trace": null}',
        b'{"message": "\\ud800", "stack_trace": "\\udfff"}',
        b'{"message": "m", "encoded_attributes": "no base64"}',
        b'{"message": "m", "encoded_attributes": "////"}',
        b'{"message": "m", "encoded_attributes": "\xc3\xa9"}',
    ],
)
@pytest.mark.parametrize("converter", [DefaultFailureConverter, Scratch])
def test_attributes_that_somebody_made_up_are_read_without_an_error(attributes: bytes, converter: Any) -> None:
    """An error would keep the workflow from ever getting on."""
    failure = Failure(message="Encoded failure")
    failure.application_failure_info.SetInParent()
    failure.encoded_attributes.metadata["encoding"] = b"json/plain"
    failure.encoded_attributes.data = attributes
    wrapped = make_hiding_converter(converter)
    error = wrapped().from_failure(failure, PAYLOADS)
    assert isinstance(error, Exception)
    again = converted(error, wrapped)
    assert hidden(again)


def test_what_was_going_on_before_is_told_as_by_the_sdk() -> None:
    """Of errors of Temporal's own, and of no others."""

    def during(error: BaseException) -> BaseException:
        try:
            try:
                raise KeyError("before")
            except KeyError:
                raise error  # noqa: B904
        except BaseException as caught:
            return caught

    for make, levels_expected in ((lambda: ApplicationError("a"), 2), (lambda: ValueError("v"), 1)):
        for details in ((), (Decimal(1),)):
            error = make()
            if isinstance(error, ApplicationError):
                error = ApplicationError("a", *details)
            assert len(list(levels(converted(during(error))))) == levels_expected


# --- contexts ---------------------------------------------------------------------------------------------------------

CONTEXT = WorkflowSerializationContext(namespace="n", workflow_id="w")


class NeedsContext(DefaultFailureConverter, WithSerializationContext):
    """As the SDK's own tests have one: nothing works without a context."""

    def __init__(self) -> None:
        super().__init__()
        self.context: SerializationContext | None = None

    def with_context(self, context: SerializationContext) -> NeedsContext:
        new = NeedsContext()
        new.context = context
        return new

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        assert self.context is not None, SECRET
        super().to_failure(exception, payload_converter, failure)
        failure.message = f"{self.context.workflow_id}: {failure.message}"  # type: ignore[attr-defined]


def test_converter_with_a_context_is_wrapped_again() -> None:
    wrapped = make_hiding_converter(NeedsContext)()
    assert isinstance(wrapped, WithSerializationContext)
    contextual = wrapped.with_context(CONTEXT)
    failure = Failure()
    contextual.to_failure(thrown(ValueError(SECRET)), PAYLOADS, failure)
    assert_hidden(Failure.FromString(failure.SerializeToString()))
    assert str(contextual.from_failure(failure, PAYLOADS)) == f"ValueError: w: {SECRET}"


def test_converter_that_misses_its_context_ends_in_a_hidden_failure() -> None:
    assert_hidden(converted(thrown(ValueError(SECRET)), make_hiding_converter(NeedsContext)))


def test_context_that_changes_nothing_makes_no_other_converter() -> None:
    class Same(DefaultFailureConverter, WithSerializationContext):
        def with_context(self, context: SerializationContext) -> Same:
            return self

    for converter in (Same, DefaultFailureConverter):
        wrapped = make_hiding_converter(converter)()
        assert wrapped.with_context(CONTEXT) is wrapped  # type: ignore[attr-defined]


def test_converter_that_refuses_its_context_goes_on_without_it(caplog: pytest.LogCaptureFixture) -> None:
    class Refusing(DefaultFailureConverter, WithSerializationContext):
        def with_context(self, context: SerializationContext) -> Refusing:
            raise RuntimeError(SECRET)

    wrapped = make_hiding_converter(Refusing)()
    failure = Failure()
    wrapped.with_context(CONTEXT).to_failure(ValueError(SECRET), PAYLOADS, failure)  # type: ignore[attr-defined]
    assert_hidden(failure)
    assert "the failure converter Refusing failed" in caplog.text


# --- errors that answer no question -----------------------------------------------------------------------------------


class Untaught(BaseException):
    """Neither an error nor an end."""


RAISED: dict[str, BaseException] = {
    "error": RuntimeError(SECRET),
    "base": Untaught(SECRET),
    "cancelled": asyncio.CancelledError(SECRET),
    "attribute": AttributeError(SECRET),
}
ASKED: list[tuple[type[BaseException], str]] = [
    *((ValueError, name) for name in ("__class__", "__cause__", "__context__", "__traceback__", "__notes__", "args")),
    *((ApplicationError, name) for name in ("type", "message", "details", "category", "failure", "__class__")),
    *((nexusrpc.HandlerError, name) for name in ("type", "retryable_override", "original_failure", "stack_trace")),
    *((CancelledError, name) for name in ("details", "failure", "__cause__")),
]


def mute(kind: type[BaseException], attribute: str, raised: BaseException) -> BaseException:
    """An error of ``kind`` with the secret in it, one of whose attributes can't be read."""

    def get(self: object) -> object:
        raise raised

    body: dict[str, Any] = {"__str__": get} if attribute == "__notes__" else {}
    body |= {"__class__": property(get)} if attribute == "__class__" else {}
    mute = type("Mute", (kind,), body)
    arguments = {"type": nexusrpc.HandlerErrorType.INTERNAL} if kind is nexusrpc.HandlerError else {}
    error: BaseException = mute(SECRET, **arguments)
    if attribute not in body:
        setattr(mute, attribute, property(get))
    return error


@pytest.mark.parametrize("raised", RAISED.values(), ids=RAISED)
@pytest.mark.parametrize(("kind", "attribute"), ASKED, ids=[f"{kind.__name__}.{name}" for kind, name in ASKED])
def test_an_error_that_can_not_be_asked_is_sealed(
    kind: type[BaseException], attribute: str, raised: BaseException
) -> None:
    error = mute(kind, attribute, raised)
    for exception in (error, thrown(ValueError(SECRET), error)):
        failure = Failure()
        EnvelopeFailureConverter().to_failure(exception, PAYLOADS, failure)
        assert_untold(failure)


@pytest.mark.parametrize("raised", RAISED.values(), ids=RAISED)
def test_a_converter_that_raises_anything_is_kept_from_it(raised: BaseException) -> None:
    class Broken(DefaultFailureConverter, WithSerializationContext):
        def to_failure(self, exception: Any, payload_converter: Any, failure: Failure) -> None:
            failure.message = SECRET
            raise raised

        def with_context(self, context: SerializationContext) -> Broken:
            raise raised

    class Wordless(DefaultPayloadConverter):
        def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
            raise raised

    converter: Any = make_hiding_converter(Broken)()
    assert converter.with_context(CONTEXT) is converter
    for one, payload_converter in ((converter, PAYLOADS), (EnvelopeFailureConverter(), Wordless())):
        failure = Failure()
        one.to_failure(ApplicationError(SECRET, 1), payload_converter, failure)
        assert_untold(failure)


@pytest.mark.parametrize("raised", [RuntimeError(SECRET), Untaught(SECRET)], ids=["error", "base"])
def test_a_factory_that_fails_later_is_done_without(raised: BaseException) -> None:
    broken: list[BaseException] = [raised]

    def factory() -> FailureConverter:
        if broken:
            raise broken[0]
        return DefaultFailureConverter()

    converter = make_hiding_converter(factory)
    with pytest.raises(type(raised)):  # who configures a client is told
        converter()
    broken.clear()
    converter()
    broken.append(raised)
    failure = Failure()
    converter().to_failure(ApplicationError(SECRET, type="Declined"), PAYLOADS, failure)
    assert_untold(failure)
    assert failure.application_failure_info.type == "Declined"


def assert_untold(failure: Failure) -> None:
    for level in levels(failure):
        assert level.message in ("", "Encoded failure")
        assert not level.stack_trace
        level.ClearField("encoded_attributes")
        if level.HasField("application_failure_info"):
            level.application_failure_info.ClearField("details")
    assert SECRET not in str(failure)
