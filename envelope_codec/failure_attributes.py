"""Message and stack trace of a failure, moved to where a payload codec seals them, and back."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

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
    """A copy of ``failure`` as its failure converter had made it, before `hide`."""
    copied = Failure()
    copied.CopyFrom(failure)
    for level in levels(copied):
        attributes = _attributes(level, payload_converter)
        if isinstance(message := attributes.get("message"), str):
            level.message = message
        if isinstance(stack_trace := attributes.get("stack_trace"), str):
            level.stack_trace = stack_trace
        if isinstance(before := attributes.get(_BEFORE), str):
            level.encoded_attributes.ParseFromString(base64.b64decode(before))
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
    if level.message == HIDDEN and not level.stack_trace:
        return
    told = {"message": level.message, "stack_trace": level.stack_trace}
    if level.HasField("encoded_attributes"):
        if not level.message and not level.stack_trace:
            return  # a failure converter has moved them itself
        before = _attributes(level, payload_converter)
        if before == told:  # an error that came from a failure is turned back by copying it, as the SDK has opened it
            level.message, level.stack_trace = HIDDEN, ""
            return
        if not (before and before.keys() <= _STANDARD):
            told[_BEFORE] = base64.b64encode(level.encoded_attributes.SerializeToString()).decode("ascii")
    if len(level.message) > MAX_MESSAGE:
        told["message"] = level.message[:MAX_MESSAGE] + "…"
    if len(level.stack_trace) > MAX_STACK_TRACE:
        told["stack_trace"] = "…" + level.stack_trace[-MAX_STACK_TRACE:]
    level.encoded_attributes.CopyFrom(_payload(told, payload_converter))
    level.message, level.stack_trace = HIDDEN, ""


def _payload(attributes: dict[str, str], payload_converter: PayloadConverter | None) -> Payload:
    if payload_converter is not None:
        try:
            [payload] = payload_converter.to_payloads([attributes])
            if isinstance(payload, Payload):
                return payload
        except Exception:  # noqa: S110 - a user's own: whatever it raises, plain JSON will do, which is sealed as well
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
        except Exception:
            found = None
    if not isinstance(found, dict) and payload.metadata.get("encoding") == b"json/plain":
        try:
            found = json.loads(payload.data)
        except ValueError:
            found = None
    return found if isinstance(found, dict) else {}
