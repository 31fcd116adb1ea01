"""Message and stack trace of each level move to where a codec seals them, whoever has moved some of them before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultPayloadConverter, PayloadConverter

from envelope_codec.temporal.failure_attributes import (
    HIDDEN,
    MAX_LEVELS,
    MAX_MESSAGE,
    MAX_STACK_TRACE,
    escape_surrogates,
    hide,
    is_hidden,
    show,
    walk_levels,
)

PAYLOADS = DefaultPayloadConverter()
OWN = Payload(metadata={"encoding": b"binary/own"}, data=b"in a way of their own")


def standard(message: str, stack_trace: str = "") -> Payload:
    """What the SDK's failure converter makes of both."""
    return PAYLOADS.to_payloads([{"message": message, "stack_trace": stack_trace}])[0]


def made(message: str, stack_trace: str = "", attributes: Payload | None = None) -> Failure:
    failure = Failure(message=message, stack_trace=stack_trace)
    if attributes is not None:
        failure.encoded_attributes.CopyFrom(attributes)
    return failure


def texts(failure: Failure) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(failure.encoded_attributes.data)
    return found


LONG = "x" * (MAX_STACK_TRACE + 1)
CASES: dict[str, tuple[Failure, Failure]] = {
    "in clear": (made("m", "s"), made(HIDDEN, "", standard("m", "s"))),
    "a message alone": (made("m"), made(HIDDEN, "", standard("m"))),
    "without any text": (made(""), made(HIDDEN, "", standard(""))),
    "moved by the SDK": (made(HIDDEN, "", standard("m", "s")), made(HIDDEN, "", standard("m", "s"))),
    "moved by the SDK, and too long": (
        made(HIDDEN, "", standard("m", LONG)),
        made(HIDDEN, "", standard("m", "…" + LONG[1:])),
    ),
    "moved in a way of their own": (made(HIDDEN, "", OWN), made(HIDDEN, "", OWN)),
    "moved in a way of their own, and long": (
        made(HIDDEN, "", Payload(data=LONG.encode())),
        made(HIDDEN, "", Payload(data=LONG.encode())),
    ),
    "moved, with an empty message": (made("", "", OWN), made("", "", OWN)),
    "moved, and written anew": (made("new", "s", standard("old")), made(HIDDEN, "", standard("new", "s"))),
    "marked as hidden, with nothing moved": (made(HIDDEN), made(HIDDEN)),
    "marked as hidden, with a stack trace": (made(HIDDEN, "s"), made(HIDDEN, "", standard(HIDDEN, "s"))),
}


@pytest.mark.parametrize(("given", "expected"), CASES.values(), ids=CASES)
def test_a_level_is_hidden(given: Failure, expected: Failure) -> None:
    failure = Failure.FromString(given.SerializeToString())
    hide(failure, PAYLOADS)
    assert failure == expected
    assert is_hidden(failure)
    hide(failure, PAYLOADS)
    assert failure == expected, "hidden twice is hidden once"


def test_attributes_of_their_own_beside_a_text_are_kept_with_it() -> None:
    failure = made("m", "s", OWN)
    hide(failure, PAYLOADS)
    assert is_hidden(failure)
    assert texts(failure).keys() == {"message", "stack_trace", "encoded_attributes"}
    assert show(failure, PAYLOADS) == made("m", "s", OWN)


def test_each_cause_is_hidden_and_those_too_deep_are_cut() -> None:
    failure = level = made("m")
    for _ in range(MAX_LEVELS + 5):
        level = level.cause
        level.message = "cause"
    assert not is_hidden(failure)
    hide(failure, PAYLOADS)
    assert is_hidden(failure)
    assert len(list(walk_levels(failure))) == MAX_LEVELS


def test_long_texts_are_cut() -> None:
    failure = made("m" * (MAX_MESSAGE + 1), "a" + "s" * MAX_STACK_TRACE)
    hide(failure, PAYLOADS)
    assert texts(failure) == {"message": "m" * MAX_MESSAGE + "…", "stack_trace": "…" + "s" * MAX_STACK_TRACE}


class Raising(PayloadConverter):
    """A user's own, that can do nothing."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        raise self.error

    def from_payloads(self, payloads: Sequence[Payload], type_hints: Any = None) -> list[Any]:
        raise self.error


class Wrong(PayloadConverter):
    """A user's own, that makes no payloads and reads no dictionaries."""

    def to_payloads(self, values: Sequence[Any]) -> list[Any]:
        return ["no payload"]

    def from_payloads(self, payloads: Sequence[Payload], type_hints: Any = None) -> list[Any]:
        return ["no dictionary"]


@pytest.mark.parametrize("converter", [None, Raising(ValueError()), Raising(BaseException()), Wrong()])
def test_without_a_payload_converter_it_is_plain_json_both_ways(converter: Any) -> None:
    failure = made("m", "s")
    hide(failure, converter)
    assert is_hidden(failure)
    assert failure.encoded_attributes.metadata["encoding"] == b"json/plain"
    assert texts(failure) == {"message": "m", "stack_trace": "s"}
    assert show(failure, converter or Wrong()).message == "m"


@pytest.mark.parametrize("work", [hide, show])
def test_the_end_of_the_process_is_not_held_up(work: Any) -> None:
    failure = made("m", "s", standard("before"))
    with pytest.raises(KeyboardInterrupt):
        work(failure, Raising(KeyboardInterrupt()))


def test_lone_surrogates_are_spelled_out() -> None:
    assert escape_surrogates("a \ud800 é") == "a \\ud800 é"
