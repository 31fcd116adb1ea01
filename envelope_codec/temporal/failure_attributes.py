"""Message and stack trace of a failure, moved to where a payload codec seals them, and back."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import PayloadConverter

MAX_STACK_TRACE = 2_000
"""Characters of a stack trace that are kept, its end. The server replaces a failure that gets too large by another."""

MAX_MESSAGE = 100_000
"""Characters of a message that are kept, its beginning. The server takes 2 MiB, and one character may make 12 bytes."""

MAX_LEVELS = 64
"""Causes that are kept, the failure itself included. Protobuf reads no message that is nested deeper than 100."""

HIDDEN = "Encoded failure"
"""What the SDK writes instead of a message that it has moved."""

STOPS = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""Exceptions that end a process or a coroutine. Everything else that is raised on the way is kept from leaving."""

_STANDARD = {"message", "stack_trace"}
_BEFORE = "encoded_attributes"  # what a user's failure converter had put there, beside a message in clear


def hide(failure: Failure, payload_converter: PayloadConverter | None = None) -> None:
    """Leave no message and no stack trace of ``failure`` and its causes in clear. Never raises.

    Args:
        failure: changed in place.
        payload_converter: makes a payload of them. Where it can't, or is None, they are plain JSON.
    """
    last = failure
    for number, level in enumerate(levels(failure), start=1):
        _hide_level(level, payload_converter)
        last = level
        if number == MAX_LEVELS:
            break
    last.ClearField("cause")


def shown(failure: Failure, payload_converter: PayloadConverter) -> Failure:
    """A copy of ``failure`` as its failure converter had made it, before `hide`. Never raises, whoever made it."""
    copied = Failure()
    copied.CopyFrom(failure)
    for level in levels(copied):
        attributes = _attributes(level, payload_converter)
        if isinstance(message := attributes.get("message"), str):
            level.message = printable(message)
        if isinstance(stack_trace := attributes.get("stack_trace"), str):
            level.stack_trace = printable(stack_trace)
        if isinstance(before := attributes.get(_BEFORE), str):
            with suppress(ValueError, DecodeError):  # else nobody has hidden them
                level.encoded_attributes.CopyFrom(Payload.FromString(base64.b64decode(before, validate=True)))
    return copied


def is_hidden(failure: Failure) -> bool:
    """Whether no level of ``failure`` has a message or a stack trace in clear."""
    return all(level.message in ("", HIDDEN) and not level.stack_trace for level in levels(failure))


def levels(failure: Failure) -> Iterator[Failure]:
    """``failure`` and its chain of causes."""
    yield failure
    while failure.HasField("cause"):
        failure = failure.cause
        yield failure


def printable(text: str) -> str:
    """``text`` without what protobuf refuses: surrogates that stand alone."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _hide_level(level: Failure, payload_converter: PayloadConverter | None) -> None:
    told = {"message": level.message, "stack_trace": level.stack_trace}
    before: dict[str, Any] = {}
    if level.HasField("encoded_attributes"):
        moved = level.message in ("", HIDDEN) and not level.stack_trace
        if moved and len(level.encoded_attributes.data) <= MAX_STACK_TRACE:
            return  # a failure converter has moved them itself
        before = _attributes(level, payload_converter)
        if moved and not _is_standard(before):
            return
        if moved:
            told = before
        elif not _is_standard(before):
            told[_BEFORE] = base64.b64encode(level.encoded_attributes.SerializeToString()).decode("ascii")
    elif level.message == HIDDEN and not level.stack_trace:
        return
    told = {name: _cut(name, text) for name, text in told.items()}
    # An error that came from a failure is turned back by copying it: the same attributes stay the same bytes.
    if told != before:
        level.encoded_attributes.CopyFrom(_payload(told, payload_converter))
    level.message, level.stack_trace = HIDDEN, ""


def _is_standard(attributes: dict[str, Any]) -> bool:
    return attributes.keys() == _STANDARD and all(isinstance(text, str) for text in attributes.values())


def _cut(name: str, text: str) -> str:
    if name == "message" and len(text) > MAX_MESSAGE:
        return text[:MAX_MESSAGE] + "…"
    if name == "stack_trace" and len(text) > MAX_STACK_TRACE:
        return "…" + text[-MAX_STACK_TRACE:]
    return text


def _payload(attributes: dict[str, str], payload_converter: PayloadConverter | None) -> Payload:
    if payload_converter is not None:
        try:
            [payload] = payload_converter.to_payloads([attributes])
            if isinstance(payload, Payload):
                return payload
        except STOPS:
            raise
        except BaseException:  # noqa: S110 - a user's own: whatever it raises, plain JSON will do, which is sealed too
            pass
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(attributes).encode("ascii"))


def _attributes(level: Failure, payload_converter: PayloadConverter | None) -> dict[str, Any]:
    """What stands in the encoded attributes of ``level``. Empty where there are none, or nobody can read them."""
    if not level.HasField("encoded_attributes"):
        return {}
    payload = level.encoded_attributes
    found: Any = None
    if payload_converter is not None:
        try:
            [found] = payload_converter.from_payloads([payload])
        except STOPS:
            raise
        except BaseException:
            found = None
    if not isinstance(found, dict) and payload.metadata.get("encoding") == b"json/plain":
        try:
            found = json.loads(payload.data)
        except (ValueError, RecursionError):
            found = None
    return found if isinstance(found, dict) else {}
