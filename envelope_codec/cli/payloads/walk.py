"""Where the payloads of a document stand: in a history, a payload, or a list of them, as protobuf-JSON.

Where the document says what it is (a history, an event, ``Payloads``), the protobuf definitions lead the way, so that
payloads are found that Temporal's tools print as the values they hold. Elsewhere every object that looks like a
payload counts as one.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from temporalio.api.common.v1 import Header, Memo, Payload, Payloads, SearchAttributes
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import History, HistoryEvent, MarkerRecordedEventAttributes
from temporalio.api.workflow.v1 import PendingActivityInfo, WorkflowExecutionInfo

from envelope_codec.cli.inspection.document import Unreadable
from envelope_codec.cli.payloads.claim import claim_in, claim_of, is_reference
from envelope_codec.cli.payloads.failure import tells_in_clear
from envelope_codec.temporal.system_payloads import CORE_MARKERS

MAX_DEPTH = 200
"""Of objects and lists in each other. Protobuf itself allows for 100 messages."""

_PAYLOAD, _PAYLOADS, _FAILURE = (kind.DESCRIPTOR.full_name for kind in (Payload, Payloads, Failure))
_MARKER = MarkerRecordedEventAttributes.DESCRIPTOR.full_name
_PAYLOAD_MEMBERS = frozenset(("metadata", "data", "externalPayloads", "external_payloads"))
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Role(str, Enum):
    """What a payload is for, as far as it makes a difference to what may be in clear."""

    user = "user data"
    header = "header"
    search_attribute = "search attribute"
    marker = "marker of the SDK's core"


_ROLES = {SearchAttributes.DESCRIPTOR.full_name: Role.search_attribute, Header.DESCRIPTOR.full_name: Role.header}

_NAMED: Mapping[str, Descriptor] = {  # what Temporal's tools call these in whatever they print
    "memo": Memo.DESCRIPTOR,
    "searchAttributes": SearchAttributes.DESCRIPTOR,
    "workflowExecutionInfo": WorkflowExecutionInfo.DESCRIPTOR,
    "pendingActivities": PendingActivityInfo.DESCRIPTOR,
}


@dataclass(frozen=True)
class Place:
    """Something that was found.

    Attributes:
        path: where it stands, as ``jq`` spells it; ``.`` for the whole document.
        payload: the payload, or None where there is none that could be read, or what was found is a failure.
        defect: why the payload can't be read, else empty.
        role: what it is for.
    """

    path: str
    payload: Payload | None = None
    defect: str = ""
    role: Role = Role.user

    @property
    def is_failure(self) -> bool:
        """Whether it is a failure whose message or stack trace is in clear, by an application."""
        return self.payload is None and not self.defect


def places_in(values: list[Any]) -> Iterator[Place]:
    """Every payload, and every failure message in clear, in document order. Several values count as one list.

    Raises:
        Unreadable: nested too deeply, or nothing in it is a history, an event or a payload.
    """
    finder = _Finder()
    yield from finder.untyped(values[0] if len(values) == 1 else values, "", 0)
    if not finder.known:
        raise Unreadable("nothing in the input is a payload, or the history of a workflow")


def places_in_event(event: HistoryEvent) -> Iterator[Place]:
    """The same for one event; paths begin at the event.

    Raises:
        Unreadable: nested too deeply.
    """
    return _Finder().message(MessageToDict(event), HistoryEvent.DESCRIPTOR, "", 0, Role.user)


def _shape_of(value: Any, name: str) -> Descriptor | None:
    """The message that ``value`` is, by what is in it or by its ``name``."""
    if not isinstance(value, dict):
        return None
    if _is_payload(value):
        return Payload.DESCRIPTOR
    if isinstance(value.get("payloads"), list):
        return Payloads.DESCRIPTOR
    if isinstance(value.get("events"), list):
        return History.DESCRIPTOR
    if "eventType" in value or "event_type" in value:
        return HistoryEvent.DESCRIPTOR
    return _NAMED.get(name)


class _Finder:
    """Walks through a document.

    Attributes:
        known: whether it has come upon anything that it knows.
    """

    def __init__(self) -> None:
        self.known = False

    def untyped(self, value: Any, path: str, depth: int, name: str = "") -> Iterator[Place]:
        shape = _shape_of(value, name)
        if shape is not None:
            self.known = True
            yield from self.message(value, shape, path, depth, Role.user)
        else:
            for step, inner in _steps(value):
                # The elements of a list are called what the list is called.
                inner_name = name if isinstance(step, int) else step
                yield from self.untyped(inner, _joined(path, step), _deeper(depth), inner_name)

    def message(self, value: Any, kind: Descriptor, path: str, depth: int, role: Role) -> Iterator[Place]:
        if kind.full_name == _PAYLOAD:
            yield from _payload(value, path or ".", role)
        elif kind.full_name == _PAYLOADS and isinstance(value, list):
            for index, one in enumerate(value):
                yield from _payload(one, f"{path}[{index}]", role)
        elif isinstance(value, dict):
            if kind.full_name == _FAILURE and tells_in_clear(value):
                yield Place(path or ".")
            role = _ROLES.get(kind.full_name, role)
            core = CORE_MARKERS.get(_core_marker(value, kind))
            for name, inner in value.items():
                field = kind.fields_by_camelcase_name.get(name) or kind.fields_by_name.get(name)
                here, below = _joined(path, name), _deeper(depth)
                if field is None:
                    yield from self.untyped(inner, here, below)
                elif field.message_type is not None and inner is not None:
                    yield from self._field(inner, field, here, below, role, core)

    def _field(
        self, value: Any, field: FieldDescriptor, path: str, depth: int, role: Role, core: str | None
    ) -> Iterator[Place]:
        kind: Any = field.message_type
        if kind.GetOptions().map_entry:
            inner = kind.fields_by_name["value"].message_type
            if inner is not None and isinstance(value, dict):
                for key, one in value.items():
                    its_role = Role.marker if key == core else role
                    yield from self.message(one, inner, _joined(path, key), _deeper(depth), its_role)
        elif isinstance(value, list) and _is_repeated(field):
            for index, one in enumerate(value):
                yield from self.message(one, kind, f"{path}[{index}]", _deeper(depth), role)
        else:
            yield from self.message(value, kind, path, depth, role)


def _payload(value: Any, path: str, role: Role) -> Iterator[Place]:
    """The payload, and if it is a reference to external storage, the claim in it."""
    if not _is_payload(value):
        payload = Payload(metadata=_metadata_of_shorthand(value))
        claim = claim_in(value) if is_reference(payload) else None
    else:
        try:
            payload = Payload(data=_bytes(value.get("data") or ""))
            for name, text in value["metadata"].items():
                payload.metadata[name] = _bytes(text)
        except (binascii.Error, ValueError):
            yield Place(path, None, "its metadata and data must be base64, and are not", role)
            return
        claim = claim_of(payload) if is_reference(payload) else None
    yield Place(path, payload, role=role)
    if claim is not None:
        yield Place(f"{path} (claim)", claim, role=role)


def _is_payload(value: Any) -> bool:
    """Whether it is a payload written out, and not the mere value of one."""
    if not isinstance(value, dict) or not value.keys() <= _PAYLOAD_MEMBERS:
        return False
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        return False
    return "encoding" in metadata or any(name.startswith("encryption-") for name in metadata)


def _metadata_of_shorthand(value: Any) -> dict[str, bytes]:
    """https://github.com/temporalio/api-go/blob/master/internal/temporalcommonv1/README.md"""
    if value is None:
        return {"encoding": b"binary/null"}
    message = value.get("_protoMessageType") if isinstance(value, dict) else None
    if isinstance(message, str):
        return {"encoding": b"json/protobuf", "messageType": message.encode("utf-8", "replace")}
    return {"encoding": b"json/plain"}


def _is_repeated(field: Any) -> bool:
    """``field.label`` is all that protobuf has before version 6, and nothing that version 8 will have."""
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


def _core_marker(value: Mapping[str, Any], kind: Descriptor) -> str:
    name = value.get("markerName") or value.get("marker_name") if kind.full_name == _MARKER else None
    return name if isinstance(name, str) else ""


def _steps(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _joined(path: str, step: str | int) -> str:
    if isinstance(step, int):
        return f"{path}[{step}]"
    if _IDENTIFIER.fullmatch(step):
        return f"{path}.{step}" if path else step
    return f"{path}[{json.dumps(step)}]"


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise Unreadable("the input is nested too deeply")
    return depth + 1


def _bytes(text: str) -> bytes:
    """Base64 as protobuf's JSON takes it: of either alphabet, padded or not."""
    if not isinstance(text, str):
        raise ValueError
    plain = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
