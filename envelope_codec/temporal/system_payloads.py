"""Payloads that Temporal's server and the SDK's core write in clear themselves, past every payload codec."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from google.protobuf.json_format import ParseError
from google.protobuf.message import DecodeError, Message
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.api.workflowservice.v1 import (
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
)
from temporalio.converter import JSONProtoPayloadConverter

CORE_MARKERS = {"core_local_activity": "data", "core_patch": "patch-data"}
"""Names of markers in a history, and of the entry in each that the SDK's core wrote in clear.

The entries are type and times of a local activity, and the id of a patch. They hold no user data, and no codec is ever
given them to decode. Their payloads look like anyone's: only their place in the history tells what they are.
"""

SYSTEM_NEXUS = "system Nexus envelope"
REFERENCE = "reference to external storage"

SYSTEM_MARK = "__temporal_system_payload"
"""The name of metadata in payloads that the SDK sends to the system's Nexus endpoint."""

_ENCODING, _TYPE = "encoding", "messageType"
_LEGACY_REFERENCE = b"json/external-storage-reference"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_SPELLINGS = {
    "details of a termination": (  # by a start that ends the run before, by another cluster, by the server's own limits
        f'"terminated by new runID: {_UUID}"',
        r'"terminated by version: -?[0-9]{1,19}"',
        r'"transaction size of [0-9]{1,19} bytes exceeds limit of [0-9]{1,19} bytes"',
    ),
    "details of a cancellation": ('"ACTIVITY_ID_NOT_STARTED"',),  # of an activity that no worker had started
}
_TEXTS = {name: re.compile("|".join(texts).encode()) for name, texts in _SPELLINGS.items()}
_LONGEST_TEXT = 100  # bytes
_NEXUS_DETAILS = "details of a failure outside Temporal"
_REMOVED = b'"removed: not encrypted"'


def describe_clear_payload(payload: Payload) -> str | None:
    """Return a short name, for people, of what ``payload`` is, if it is none of the user's. None for everything else.

    A reference to external storage is recognized by its type alone, as other SDKs write references in other spellings.
    Whether a payload may be believed is another question: see `admit`.
    """
    if is_reference(payload):
        return REFERENCE
    return next((name for name, is_one in _CHECKS.items() if is_one(payload)), None)


def admit(payload: Payload) -> Payload | None:
    """Return what of ``payload`` is let through where encryption is required. None where it is refused.

    The payload must be exactly what it claims to be: a message that parses without an unknown field and is written
    back as the same bytes, or a text of the server's, letter for letter. And there is nothing beside it in the payload.

    Whoever can write to the Temporal service could write these payloads as well, and put them in any place. So no part
    gets through in which they could write what they like: such parts are removed, or replaced by a fixed text.

    Two payloads of Temporal's are refused. The SDK never gives them to a codec: its own message to the system's Nexus
    endpoint, whose payloads it opens itself, and a reference to external storage, which it fetches itself.
    """
    name = describe_clear_payload(payload)
    if name is None or name == REFERENCE or _has_more(payload):
        return None
    if name == SYSTEM_NEXUS:
        return _drop_link(payload) if payload.metadata[_TYPE] == _ANSWER else None
    return Payload(metadata=payload.metadata, data=_REMOVED) if name == _NEXUS_DETAILS else payload


def is_reference(payload: Payload) -> bool:
    """Whether ``payload`` claims to be a reference to external storage, whoever wrote it. The SDK checks no more."""
    encoding, message = payload.metadata.get(_ENCODING), payload.metadata.get(_TYPE)
    return encoding == _LEGACY_REFERENCE or (encoding == b"json/protobuf" and message == _REFERENCE)


def parse_system_nexus_message(payload: Payload) -> Message | None:
    """Return the message of the system's Nexus endpoint that ``payload`` claims to hold. None where it claims no such
    thing.

    Raises:
        DecodeError: the payload does not hold such a message.
    """
    if payload.metadata.get(_ENCODING) != b"binary/protobuf":
        return None
    message = _MESSAGES.get(payload.metadata.get(_TYPE, b""))
    if message is None or (
        message is SignalWithStartWorkflowExecutionRequest and payload.metadata.get(SYSTEM_MARK) != b"true"
    ):
        return None
    return message.FromString(payload.data)  # type: ignore[no-any-return]


_MESSAGES: dict[bytes, Any] = {
    message.DESCRIPTOR.full_name.encode(): message
    for message in (SignalWithStartWorkflowExecutionRequest, SignalWithStartWorkflowExecutionResponse)
}
_ANSWER = SignalWithStartWorkflowExecutionResponse.DESCRIPTOR.full_name.encode()
_REFERENCE = ExternalStorageReference.DESCRIPTOR.full_name.encode()


def _is_system_nexus(payload: Payload) -> bool:
    try:
        message = parse_system_nexus_message(payload)
    except DecodeError:
        return False
    if message is None or payload.external_payloads:
        return False
    is_answer = payload.metadata[_TYPE] == _ANSWER
    if not set(payload.metadata) <= {_ENCODING, _TYPE, *(() if is_answer else (SYSTEM_MARK,))}:
        return False
    if not is_answer:  # its maps may be written in any order, and it is refused anyway
        size = len(payload.data)
        message.DiscardUnknownFields()
        return message.ByteSize() == size
    answer: Any = message
    answer.DiscardUnknownFields()
    return answer.SerializeToString() == payload.data and bool(re.fullmatch(f"(?:{_UUID})?", answer.run_id))


def _drop_link(payload: Payload) -> Payload:
    """Return the answer of the system's Nexus endpoint without its link, a workflow's name that the SDK doesn't use."""
    answer = SignalWithStartWorkflowExecutionResponse.FromString(payload.data)
    if not answer.HasField("signal_link"):
        return payload
    answer.ClearField("signal_link")
    return Payload(metadata=payload.metadata, data=answer.SerializeToString())


def _has_more(payload: Payload) -> bool:
    """Whether ``payload`` has fields beside metadata and data."""
    return Payload(metadata=payload.metadata, data=payload.data).ByteSize() != payload.ByteSize()


def is_exact_reference(payload: Payload) -> bool:
    """Whether ``payload`` is a reference to external storage, and nothing else."""
    if not is_reference(payload):
        return False
    try:
        if payload.metadata[_ENCODING] == _LEGACY_REFERENCE:
            return set(payload.metadata) == {_ENCODING} and _is_legacy_reference(payload.data)
        written = JSONProtoPayloadConverter().to_payload(JSONProtoPayloadConverter().from_payload(payload))
    except (ValueError, RuntimeError, ParseError, RecursionError):
        return False
    return written is not None and written.metadata == payload.metadata and written.data == payload.data


def _is_legacy_reference(data: bytes) -> bool:
    found = json.loads(data)
    match found:
        case {"driver_name": str(), "driver_claim": {"claim_data": dict(claim), **more}, **others}:
            exact = not more and not others and all(isinstance(text, str) for text in claim.values())
            return exact and json.dumps(found, separators=(",", ":"), sort_keys=True).encode() == data
    return False


def _make_text_check(pattern: re.Pattern[bytes]) -> Callable[[Payload], bool]:
    def is_text(payload: Payload) -> bool:
        return _is_json(payload) and len(payload.data) <= _LONGEST_TEXT and pattern.fullmatch(payload.data) is not None

    return is_text


def _is_nexus_details(payload: Payload) -> bool:
    """Whether ``payload`` is what the server makes of a Nexus failure whose type it does not know."""
    if not _is_json(payload) or not payload.data.startswith(b'{"message":"",'):
        return False
    try:
        match json.loads(payload.data):
            case {"message": "", **others} if others:
                metadata = others.get("metadata", {})
                known = others.keys() <= {"metadata", "details", "cause"} and others.keys() != {"cause"}
                return known and isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())
    except (ValueError, RecursionError):
        pass
    return False


def _is_json(payload: Payload) -> bool:
    plain = payload.metadata.get(_ENCODING) == b"json/plain" and len(payload.metadata) == 1
    return plain and not payload.external_payloads


_CHECKS: dict[str, Callable[[Payload], bool]] = {
    SYSTEM_NEXUS: _is_system_nexus,
    **{name: _make_text_check(pattern) for name, pattern in _TEXTS.items()},
    _NEXUS_DETAILS: _is_nexus_details,
}
