"""One payload in protobuf's JSON: written out with its metadata, or as the value that Temporal's tools print for it."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from temporalio.api.common.v1 import Payload

_MEMBERS = frozenset(("metadata", "data", "externalPayloads", "external_payloads"))


class NotBase64(Exception):
    """Metadata or data of a payload are not base64."""


def is_payload(value: Any) -> bool:
    """Whether ``value`` is a payload that is written out, and not the mere value of one."""
    if not isinstance(value, dict) or not value.keys() <= _MEMBERS:
        return False
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        return False
    return "encoding" in metadata or any(name.startswith("encryption-") for name in metadata)


def read_payload(value: Any) -> Payload:
    """Read a payload that is written out, as `is_payload` says.

    Raises:
        NotBase64: it can't be read.
    """
    try:
        payload = Payload(data=_decode(value.get("data") or ""))
        for name, text in value["metadata"].items():
            payload.metadata[name] = _decode(text)
    except (binascii.Error, ValueError):
        raise NotBase64 from None
    return payload


def payload_of_value(value: Any) -> Payload:
    """Make a payload without data, whose metadata is what the tools left out when they printed ``value`` in its place.

    https://github.com/temporalio/api-go/blob/master/internal/temporalcommonv1/README.md has the rules.
    """
    if value is None:
        return Payload(metadata={"encoding": b"binary/null"})
    message = value.get("_protoMessageType") if isinstance(value, dict) else None
    if isinstance(message, str):
        return Payload(metadata={"encoding": b"json/protobuf", "messageType": message.encode("utf-8", "replace")})
    return Payload(metadata={"encoding": b"json/plain"})


def _decode(text: Any) -> bytes:
    """Decode base64 as protobuf's JSON allows it: of either alphabet, with padding or without."""
    if not isinstance(text, str):
        raise ValueError
    plain = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
