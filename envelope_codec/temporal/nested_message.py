"""Messages that are bytes in others: in a payload, or in a `google.protobuf.Any`."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pool, empty_pb2, message_factory
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from temporalio.api.common.v1 import Payload

from envelope_codec.envelope import ENCODING_FAMILY
from envelope_codec.temporal.payload_json import NotBase64, is_payload, read_payload
from envelope_codec.temporal.system_payloads import is_reference, parse_system_nexus_message

_OF_SERVER = b"temporal.server."
_HAS_ENCODING = b"\n\x08encoding"  # an entry of a payload's metadata begins so
_NAMES_ENCODING = b'"encoding"'
_DEEPEST = 32

_MARKS = (ENCODING_FAMILY, *(base64.b64encode(bytes(skipped) + ENCODING_FAMILY)[4:-4] for skipped in range(3)))
"""What the encoding of an envelope looks like in bytes, and in base64 wherever it begins."""


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


def scan_content(payload: Payload) -> Iterator[Payload]:
    """Find the payloads in what ``payload`` holds in clear, if that is a message in bytes or in JSON.

    The server's own workflows hold payloads so: a schedule its action, and a batch operation the signal that it sends.
    No description of the server's messages is public. So whatever in them has the form of a payload with an encoding
    counts as one. In all other messages only envelopes count, what names one, and references to external storage.

    Raises:
        DecodeError: it is a message of the server's, and can't be read.
    """
    encoding = payload.metadata.get("encoding", b"")
    if encoding == b"binary/protobuf":
        found = _payloads_of_form(payload.data, 0)
    elif encoding.startswith(b"json/"):
        found = _payloads_in_json(payload.data)
    else:
        return
    is_servers = payload.metadata.get("messageType", b"").startswith(_OF_SERVER)
    try:
        for one in found:
            is_ours = one.metadata["encoding"].startswith(ENCODING_FAMILY) or is_reference(one)
            if is_servers or is_ours or count_mentions(one.data):
                yield one
    except DecodeError:
        if is_servers:
            raise


def count_mentions(data: bytes) -> int:
    """Count how often ``data`` has the encoding of an envelope in it, as bytes or in base64."""
    return sum(data.count(mark) for mark in _MARKS)


def has_unknown_payloads(message: Message) -> bool:
    """Whether fields of ``message`` that this release does not know, at any depth, hold something like a payload.

    A server that is newer than the API installed here sends such fields, as of a new event. No walk enters them.
    """
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    if known.ByteSize() == message.ByteSize():
        return False
    return message.SerializeToString().count(_HAS_ENCODING) > known.SerializeToString().count(_HAS_ENCODING)


def _payloads_of_form(data: bytes, depth: int) -> Iterator[Payload]:
    if _HAS_ENCODING not in data or depth > _DEEPEST:
        return
    try:
        fields: Any = UnknownFieldSet(empty_pb2.Empty.FromString(data))
    except DecodeError:
        if depth:  # these bytes are no message
            return
        raise
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


def _payloads_in_json(data: bytes) -> Iterator[Payload]:
    if _NAMES_ENCODING not in data:
        return
    try:
        waiting: list[Any] = [json.loads(data)]
    except (ValueError, RecursionError):
        raise DecodeError from None
    while waiting:
        value = waiting.pop()
        if is_payload(value):
            payload = _read(value)
            if payload is not None:
                yield payload
        elif isinstance(value, dict):
            waiting.extend(reversed(value.values()))
        elif isinstance(value, list):
            waiting.extend(reversed(value))


def _read(value: Any) -> Payload | None:
    try:
        payload = read_payload(value)
    except NotBase64:
        return None
    return payload if "encoding" in payload.metadata else None
