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
"""Of a longer stack trace, so many characters are kept: its end. The server replaces a failure that gets too large."""

MAX_MESSAGE = 100_000
"""Of a longer message, so many characters are kept: its beginning. The server takes 2 MiB, and one character may make
12 bytes.
"""

MAX_LEVELS = 64
"""Of a longer chain of causes, so many are kept, with the failure itself. Protobuf reads no message that is nested
deeper than 100.
"""

HIDDEN = "Encoded failure"
"""The SDK writes this in place of a message that it has moved."""

STOPS = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""Exceptions that end a process or a coroutine. Everything else that is raised on the way is kept from leaving."""

_STANDARD = {"message", "stack_trace"}
_BEFORE = "encoded_attributes"  # holds what a user's failure converter had put there, beside a message in clear


def hide(failure: Failure, payload_converter: PayloadConverter | None = None) -> None:
    """Move message and stack trace of ``failure`` and its causes into payloads, which a codec seals. Never raises.

    Args:
        failure: changed in place.
        payload_converter: makes the payloads. Where it can't, or is None, they are plain JSON.
    """
    last = failure
    for number, level in enumerate(walk_levels(failure), start=1):
        _hide_level(level, payload_converter)
        last = level
        if number == MAX_LEVELS:
            break
    last.ClearField("cause")


def show(failure: Failure, payload_converter: PayloadConverter) -> Failure:
    """Return a copy of ``failure`` as its failure converter made it, before `hide`. Never raises, whoever made it."""
    copied = Failure()
    copied.CopyFrom(failure)
    for level in walk_levels(copied):
        attributes = _read_attributes(level, payload_converter)
        if isinstance(message := attributes.get("message"), str):
            level.message = escape_surrogates(message)
        if isinstance(stack_trace := attributes.get("stack_trace"), str):
            level.stack_trace = escape_surrogates(stack_trace)
        if isinstance(before := attributes.get(_BEFORE), str):
            with suppress(ValueError, DecodeError):  # else nobody has hidden them
                level.encoded_attributes.CopyFrom(Payload.FromString(base64.b64decode(before, validate=True)))
    return copied


def is_hidden(failure: Failure) -> bool:
    """Whether no level of ``failure`` has a message or a stack trace in clear."""
    return all(map(_is_moved, walk_levels(failure)))


def walk_levels(failure: Failure) -> Iterator[Failure]:
    """Yield ``failure`` and its chain of causes."""
    yield failure
    while failure.HasField("cause"):
        failure = failure.cause
        yield failure


def escape_surrogates(text: str) -> str:
    """Return ``text`` with lone surrogates spelled out, which protobuf refuses."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _hide_level(level: Failure, payload_converter: PayloadConverter | None) -> None:
    if _is_hidden_and_short(level):
        return
    encoded = _read_attributes(level, payload_converter)
    texts = _choose_texts(level, encoded)
    if texts is None:
        return
    texts = {name: _cut(name, text) for name, text in texts.items()}
    # An error that came from a failure is turned back by copying it: the same attributes stay the same bytes.
    if texts != encoded:
        level.encoded_attributes.CopyFrom(_make_payload(texts, payload_converter))
    level.message, level.stack_trace = HIDDEN, ""


def _is_moved(level: Failure) -> bool:
    return level.message in ("", HIDDEN) and not level.stack_trace


def _is_hidden_and_short(level: Failure) -> bool:
    """Whether a failure converter has moved the texts of ``level`` itself, and they need no cut."""
    if level.HasField("encoded_attributes"):
        return _is_moved(level) and len(level.encoded_attributes.data) <= MAX_STACK_TRACE
    return level.message == HIDDEN and not level.stack_trace


def _choose_texts(level: Failure, encoded: dict[str, Any]) -> dict[str, str] | None:
    """Return what to encode for ``level``. None where all of it is encoded already, in a way that is not the SDK's.

    ``encoded`` has the attributes that are encoded already, as far as they can be read.
    """
    has_attributes = level.HasField("encoded_attributes")
    if has_attributes and _is_moved(level):
        return encoded if _is_standard(encoded) else None
    texts = {"message": level.message, "stack_trace": level.stack_trace}
    if has_attributes and not _is_standard(encoded):
        texts[_BEFORE] = base64.b64encode(level.encoded_attributes.SerializeToString()).decode("ascii")
    return texts


def _is_standard(attributes: dict[str, Any]) -> bool:
    return attributes.keys() == _STANDARD and all(isinstance(text, str) for text in attributes.values())


def _cut(name: str, text: str) -> str:
    if name == "message" and len(text) > MAX_MESSAGE:
        return text[:MAX_MESSAGE] + "…"
    if name == "stack_trace" and len(text) > MAX_STACK_TRACE:
        return "…" + text[-MAX_STACK_TRACE:]
    return text


def _make_payload(attributes: dict[str, str], payload_converter: PayloadConverter | None) -> Payload:
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


def _read_attributes(level: Failure, payload_converter: PayloadConverter | None) -> dict[str, Any]:
    """Return the encoded attributes of ``level``. Empty where there are none, or where nobody can read them."""
    if not level.HasField("encoded_attributes"):
        return {}
    payload = level.encoded_attributes
    found = _convert(payload, payload_converter) if payload_converter is not None else None
    if not isinstance(found, dict) and payload.metadata.get("encoding") == b"json/plain":
        with suppress(ValueError, RecursionError):
            found = json.loads(payload.data)
    return found if isinstance(found, dict) else {}


def _convert(payload: Payload, payload_converter: PayloadConverter) -> Any:
    """Return the value of ``payload``, or None where the user's converter raises."""
    try:
        [value] = payload_converter.from_payloads([payload])
        return value
    except STOPS:
        raise
    except BaseException:
        return None
