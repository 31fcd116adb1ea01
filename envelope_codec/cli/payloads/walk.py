"""The walk through a document in protobuf's JSON, which finds its payloads: in a history, a payload, or a list of them.

Where the document says what it is (a history, an event, ``Payloads``), the walk follows the protobuf definitions. So it
finds payloads too that Temporal's tools print as the values they hold. Elsewhere every object that looks like a payload
counts as one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from temporalio.api.common.v1 import Memo, Payload, Payloads, SearchAttributes
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import History, HistoryEvent, MarkerRecordedEventAttributes
from temporalio.api.workflow.v1 import PendingActivityInfo, WorkflowExecutionInfo

from envelope_codec.cli.payloads.claim import claim_in, claim_of
from envelope_codec.cli.payloads.failure import tells_in_clear
from envelope_codec.cli.payloads.location import Location
from envelope_codec.temporal.payload_json import NotBase64, is_payload, payload_of_value, read_payload
from envelope_codec.temporal.payload_walk import Role, is_repeated, role_of, walk
from envelope_codec.temporal.system_payloads import CORE_MARKERS, is_reference

MAX_DEPTH = 200
"""How deep objects and lists may be nested. Protobuf itself allows 100 messages."""

_PAYLOAD, _PAYLOADS, _FAILURE = (kind.DESCRIPTOR.full_name for kind in (Payload, Payloads, Failure))
_MARKER = MarkerRecordedEventAttributes.DESCRIPTOR.full_name
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_NAMED: Mapping[str, Descriptor] = {  # the names that Temporal's tools give these messages
    "memo": Memo.DESCRIPTOR,
    "searchAttributes": SearchAttributes.DESCRIPTOR,
    "workflowExecutionInfo": WorkflowExecutionInfo.DESCRIPTOR,
    "pendingActivities": PendingActivityInfo.DESCRIPTOR,
}


class Unreadable(Exception):
    """The input can't be read. The text is one line and says why. It may repeat a path, but nothing of the input."""


def locations_in(values: list[Any]) -> Iterator[Location]:
    """Find every payload, and every failure in clear, in document order. Several values count as one list.

    Raises:
        Unreadable: the document is nested too deeply, or holds no history, event or payload.
    """
    finder = _Finder()
    yield from finder.untyped(values[0] if len(values) == 1 else values, "", 0)
    if not finder.known:
        raise Unreadable("nothing in the input is a payload, or the history of a workflow")


def locations_in_message(message: Message) -> Iterator[Location]:
    """Find the same in a message of Temporal's API, such as an event. Paths begin at the message.

    Raises:
        Unreadable: the message is nested too deeply.
    """
    descriptor: Any = message.DESCRIPTOR
    return _Finder().message(MessageToDict(message), descriptor, "", 0, Role.user)


def _shape_of(value: Any, name: str) -> Descriptor | None:
    """Tell from its members, or from its ``name``, which protobuf message ``value`` is. None if it is none."""
    if not isinstance(value, dict):
        return None
    if is_payload(value):
        return Payload.DESCRIPTOR
    if isinstance(value.get("payloads"), list):
        return Payloads.DESCRIPTOR
    if isinstance(value.get("events"), list):
        return History.DESCRIPTOR
    if "eventType" in value or "event_type" in value:
        return HistoryEvent.DESCRIPTOR
    return _NAMED.get(name)


class _Finder:
    """One walk through a document.

    Attributes:
        known: whether it has met anything that it knows.
    """

    def __init__(self) -> None:
        self.known = False

    def untyped(self, value: Any, path: str, depth: int, name: str = "") -> Iterator[Location]:
        shape = _shape_of(value, name)
        if shape is not None:
            self.known = True
            yield from self.message(value, shape, path, depth, Role.user)
        else:
            for step, inner in _members(value):
                # The elements of a list have the name of the list.
                inner_name = name if isinstance(step, int) else step
                yield from self.untyped(inner, _join(path, step), _deeper(depth), inner_name)

    def message(self, value: Any, kind: Descriptor, path: str, depth: int, role: Role) -> Iterator[Location]:
        if kind.full_name == _PAYLOAD:
            yield from _locate_payload(value, path or ".", role)
        elif kind.full_name == _PAYLOADS and isinstance(value, list):
            for index, one in enumerate(value):
                yield from _locate_payload(one, f"{path}[{index}]", role)
        elif isinstance(value, dict):
            if kind.full_name == _FAILURE and tells_in_clear(value):
                yield Location(path or ".")
            role = role_of(kind, role)
            core = CORE_MARKERS.get(_core_marker(value, kind))
            for name, inner in value.items():
                field = kind.fields_by_camelcase_name.get(name) or kind.fields_by_name.get(name)
                here, below = _join(path, name), _deeper(depth)
                if field is None:
                    yield from self.untyped(inner, here, below)
                elif field.message_type is not None and inner is not None:
                    yield from self._field(inner, field, here, below, role, core)

    def _field(
        self, value: Any, field: FieldDescriptor, path: str, depth: int, role: Role, core: str | None
    ) -> Iterator[Location]:
        kind: Any = field.message_type
        if kind.GetOptions().map_entry:
            inner = kind.fields_by_name["value"].message_type
            if inner is not None and isinstance(value, dict):
                for key, one in value.items():
                    its_role = Role.marker if key == core else role
                    yield from self.message(one, inner, _join(path, key), _deeper(depth), its_role)
        elif isinstance(value, list) and is_repeated(field):
            for index, one in enumerate(value):
                yield from self.message(one, kind, f"{path}[{index}]", _deeper(depth), role)
        else:
            yield from self.message(value, kind, path, depth, role)


def _locate_payload(value: Any, path: str, role: Role) -> Iterator[Location]:
    """Yield the payload, and if it is a reference to external storage, the claim in it."""
    if is_payload(value):
        try:
            payload = read_payload(value)
        except NotBase64:
            yield Location(path, None, "its metadata and data must be base64, and are not", role)
            return
        claim = claim_of(payload) if is_reference(payload) else None
    else:
        payload = payload_of_value(value)
        claim = claim_in(value) if is_reference(payload) else None
    yield Location(path, payload, role=role)
    yield from _locate_within(payload, path, role)
    if claim is not None:
        yield Location(f"{path} (claim)", claim, role=role)


def _locate_within(payload: Payload, path: str, role: Role) -> Iterator[Location]:
    """Yield the payloads inside a message of Temporal's own that ``payload`` holds."""
    for found in walk(payload, role):
        if found.within and isinstance(found.message, Payload):
            yield Location(f"{path}.{found.path}", found.message, role=found.role)


def _core_marker(value: Mapping[str, Any], kind: Descriptor) -> str:
    name = value.get("markerName") or value.get("marker_name") if kind.full_name == _MARKER else None
    return name if isinstance(name, str) else ""


def _members(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _join(path: str, step: str | int) -> str:
    if isinstance(step, int):
        return f"{path}[{step}]"
    if _IDENTIFIER.fullmatch(step):
        return f"{path}.{step}" if path else step
    return f"{path}[{json.dumps(step)}]"


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise Unreadable("the input is nested too deeply")
    return depth + 1
