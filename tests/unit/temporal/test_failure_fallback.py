"""A failure can be made of any error, with what workflows and retry policies look at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import nexusrpc
import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, DefaultPayloadConverter
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, CancelledError, TimeoutError, TimeoutType

from envelope_codec.temporal.failure_attributes import MAX_LEVELS, walk_levels
from envelope_codec.temporal.failure_fallback import is_too_deep, make_fallback, replace_unruly
from tests.support.unruly_errors import UNRULY, Speechless, cyclic, deep

SECRET = "marigold"


def caused_by(cause: BaseException) -> BaseException:
    error = ValueError("outer")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("make", UNRULY.values(), ids=UNRULY)
def test_a_failure_is_made_of_any_error(make: Callable[[str], BaseException]) -> None:
    for error in (make(SECRET), caused_by(make(SECRET))):
        failure = make_fallback(error)
        levels = list(walk_levels(failure))
        assert 1 <= len(levels) <= MAX_LEVELS
        assert all(level.WhichOneof("failure_info") for level in levels)
        assert not any(level.application_failure_info.HasField("details") for level in levels)
        Failure.FromString(failure.SerializeToString())


def test_a_chain_of_causes_ends_where_it_comes_back() -> None:
    assert [level.message for level in walk_levels(make_fallback(cyclic(SECRET)))] == [
        f"one {SECRET}",
        f"other {SECRET}",
    ]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError(), False),
        (cyclic(SECRET), True),
        (deep(SECRET, MAX_LEVELS - 1), False),
        (deep(SECRET, MAX_LEVELS), True),
    ],
)
def test_what_is_too_deep(error: BaseException, expected: bool) -> None:
    assert is_too_deep(error) is expected


def test_an_error_that_came_from_a_failure_has_its_causes_in_that() -> None:
    inner = Failure(message="outer", cause=Failure(message="inner"))
    for level in (inner, inner.cause):
        level.application_failure_info.type = "Declined"
    error = DefaultFailureConverter().from_failure(inner, DefaultPayloadConverter())
    assert not is_too_deep(error)
    assert [level.message for level in walk_levels(make_fallback(error))] == ["outer", "inner"]


@pytest.mark.parametrize(
    "error",
    [
        ApplicationError("m", 1, type="Declined", non_retryable=True, category=ApplicationErrorCategory.BENIGN),
        CancelledError("m", 1),
        TimeoutError("m", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[1]),
        nexusrpc.HandlerError("m", type=nexusrpc.HandlerErrorType.NOT_FOUND, retryable_override=True),
    ],
)
def test_an_error_that_the_sdk_can_send_is_as_the_sdk_has_it_but_for_details(error: BaseException) -> None:
    expected = Failure()
    DefaultFailureConverter().to_failure(error, DefaultPayloadConverter(), expected)
    expected.application_failure_info.ClearField("details") if expected.HasField("application_failure_info") else None
    expected.canceled_failure_info.ClearField("details") if expected.HasField("canceled_failure_info") else None
    if expected.HasField("timeout_failure_info"):
        expected.timeout_failure_info.ClearField("last_heartbeat_details")
    assert make_fallback(error) == expected


class Odd(nexusrpc.HandlerError):
    """Its message is no text that protobuf takes."""

    def __init__(self, retryable: bool | None) -> None:
        kind = nexusrpc.HandlerErrorType.BAD_REQUEST
        super().__init__("\ud800", type=kind, retryable_override=retryable)


@pytest.mark.parametrize(("retryable", "behavior"), [(None, 0), (True, 1), (False, 2)])
def test_an_error_of_a_nexus_handler_keeps_what_nexus_looks_at(retryable: bool | None, behavior: int) -> None:
    failure = make_fallback(Odd(retryable))
    info = failure.nexus_handler_failure_info
    assert (failure.message, info.type, info.retry_behavior) == ("\\ud800", "BAD_REQUEST", behavior)


def test_a_cancellation_stays_one() -> None:
    assert make_fallback(CancelledError("\ud800")).HasField("canceled_failure_info")


@pytest.mark.parametrize(
    ("error", "type_name", "non_retryable"),
    [
        (Speechless(SECRET), "Speechless", False),
        (ApplicationError("\ud800", type="Declined", non_retryable=True), "Declined", True),
        (ApplicationError("\ud800", type=ValueError), "ValueError", False),  # type: ignore[arg-type]
        (ApplicationError("\ud800", type=7), "ApplicationError", False),  # type: ignore[arg-type]
        (ApplicationError("\ud800"), "ApplicationError", False),
    ],
)
def test_type_name_and_whether_to_try_again_are_kept(error: BaseException, type_name: str, non_retryable: bool) -> None:
    info = make_fallback(error).application_failure_info
    assert (info.type, info.non_retryable) == (type_name, non_retryable)


class Untaught(BaseException):
    """Neither an error nor an end."""


@pytest.mark.parametrize(
    "raised",
    [RuntimeError(SECRET), Untaught(SECRET), asyncio.CancelledError(SECRET)],
    ids=["error", "base", "cancelled"],
)
@pytest.mark.parametrize(("parent", "name"), [(ApplicationError, "category"), (ValueError, "__class__")])
def test_an_error_that_the_sdk_can_not_ask_is_replaced(
    parent: type[BaseException], name: str, raised: BaseException
) -> None:
    def get(self: object) -> object:
        raise raised

    cause = ValueError("cause")
    error: BaseException = type("Mute", (parent,), {name: property(get)})(SECRET)
    error.__cause__ = cause
    replaced = replace_unruly(error)
    assert isinstance(replaced, ApplicationError)
    assert (replaced.type, replaced.category) == ("Mute", ApplicationErrorCategory.UNSPECIFIED)
    if name != "__class__":  # nothing can be read of an error that has no class
        assert replaced.message == SECRET
        assert replaced.__cause__ is cause


@pytest.mark.parametrize(
    "error", [ApplicationError(SECRET), ValueError(SECRET), CancelledError(SECRET), asyncio.CancelledError()]
)
def test_an_error_that_the_sdk_can_ask_stays(error: BaseException) -> None:
    assert replace_unruly(error) is error


@pytest.mark.parametrize("work", [make_fallback, replace_unruly, is_too_deep])
def test_the_end_of_the_process_is_not_held_up(work: Any) -> None:
    class Ending(ApplicationError):
        @property
        def category(self) -> Any:
            raise KeyboardInterrupt

        @property
        def __cause__(self) -> Any:  # type: ignore[override]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(Ending(SECRET))
