"""Messages that are bytes in others: in a payload of Temporal's own, or in a `google.protobuf.Any`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pool, empty_pb2, message_factory
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from temporalio.api.common.v1 import Payload

from envelope_codec.envelope import ENCODING_FAMILY
from envelope_codec.temporal.system_payloads import parse_system_nexus_message

_OF_TEMPORAL, _OF_SERVER = b"temporal.", b"temporal.server."
_HAS_ENCODING = b"\n\x08encoding"  # an entry of a payload's metadata begins so
_DEEPEST = 32


def inner_message(holder: Any) -> Message | None:
    """Parse the message that a payload or an `Any` holds as bytes. None if there is none, or of no type known here.

    Raises:
        DecodeError: there is one, and it can't be read.
    """
    if isinstance(holder, Payload):
        return parse_system_nexus_message(holder)
    try:
        kind = descriptor_pool.Default().FindMessageTypeByName(holder.type_url.rpartition("/")[2])
    except KeyError:
        return None
    return message_factory.GetMessageClass(kind).FromString(holder.value)


def scan_server_message(payload: Payload) -> Iterator[Payload]:
    """Find the payloads in a message that one of the server's own workflows was given, such as that of a schedule.

    No description of the server's messages is public. So whatever in it has the form of a payload with an encoding
    counts as one. In public messages the server keeps notes of its own, so there only envelopes count. Of a payload of
    any other kind, nothing is found.
    """
    kind = payload.metadata.get("messageType", b"")
    if payload.metadata.get("encoding") != b"binary/protobuf" or not kind.startswith(_OF_TEMPORAL):
        return
    for found in _payloads_of_form(payload.data, 0):
        if kind.startswith(_OF_SERVER) or found.metadata["encoding"].startswith(ENCODING_FAMILY):
            yield found


def _payloads_of_form(data: bytes, depth: int) -> Iterator[Payload]:
    if _HAS_ENCODING not in data or depth > _DEEPEST:
        return
    try:
        fields: Any = UnknownFieldSet(empty_pb2.Empty.FromString(data))
    except DecodeError:
        return
    for field in fields:
        part = field.data
        if not isinstance(part, bytes) or _HAS_ENCODING not in part:
            continue
        payload = _as_payload(part)
        if payload is not None:
            yield payload
        else:
            yield from _payloads_of_form(part, depth + 1)


def _as_payload(data: bytes) -> Payload | None:
    try:
        payload = Payload.FromString(data)
    except DecodeError:
        return None
    if "encoding" not in payload.metadata:
        return None
    payload.DiscardUnknownFields()
    return payload if payload.ByteSize() == len(data) else None
