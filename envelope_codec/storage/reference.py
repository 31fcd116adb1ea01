"""References to external storage. Temporal's SDK writes one in place of each stored payload; this module reads them.

`envelope_codec.temporal.system_payloads.is_reference` says whether a payload is a reference in clear.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from google.protobuf import json_format
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference

from envelope_codec.errors import MalformedEnvelope
from envelope_codec.temporal.system_payloads import is_reference

# As in temporalio/converter/_extstore.py: what earlier releases of the SDK wrote, and the mark of an encoded reference.
_EARLIER_ENCODING = b"json/external-storage-reference"
MARK = "__temporal_external_storage_reference"
"""Metadata of a reference that went through the codec."""

# Bounds for a reference in clear, far above what any has. Parsed, ten bytes take ten microseconds and 300 bytes.
_LONGEST = 2**17  # bytes; a claim of this library has half as many at most
_MOST_MARKS = 512


class Reference(NamedTuple):
    """The content of a reference.

    Attributes:
        driver_name: name of the driver that stored the payload.
        claim_data: what that driver needs to find the payload again.
    """

    driver_name: str
    claim_data: Mapping[str, str]


def refers_to_storage(payload: Payload) -> bool:
    """Return whether ``payload`` is a reference to external storage, in clear or encoded by the codec."""
    return is_encoded_reference(payload) or is_reference(payload)


def is_encoded_reference(payload: Payload) -> bool:
    """Return whether ``payload`` is a reference that went through the codec."""
    return payload.metadata.get(MARK) == b"true"


def strip_mark(payload: Payload) -> Payload:
    """Return what the codec made of a reference, without what the SDK added to it afterwards."""
    bare = Payload()
    bare.CopyFrom(payload)
    del bare.metadata[MARK]
    del bare.external_payloads[:]
    return bare


def restore_sizes(reference: Payload, encoded: Payload) -> Payload:
    """Return a decoded reference with the sizes that its encoded form shows beside it."""
    restored = Payload()
    restored.CopyFrom(reference)
    if not restored.external_payloads:
        restored.external_payloads.extend(encoded.external_payloads)
    return restored


def parse_reference(payload: Payload) -> Reference:
    """Read a reference in clear, in today's spelling or in that of earlier SDKs.

    Raises:
        MalformedEnvelope: it can't be read.
    """
    data = payload.data
    try:
        if len(data) > _LONGEST or sum(map(data.count, (b'"', b",", b"{", b"["))) > _MOST_MARKS:
            raise ValueError
        if payload.metadata.get("encoding") == _EARLIER_ENCODING:
            return _parse_earlier(data)
        return _take(json_format.Parse(data, ExternalStorageReference(), ignore_unknown_fields=True))
    except Exception:  # JSON and protobuf raise many classes; whatever it is, the payload is at fault
        raise MalformedEnvelope("a reference to external storage can't be read") from None


def parse_reference_document(document: object) -> Reference:
    """Read a reference that is parsed JSON already.

    Raises:
        MalformedEnvelope: it can't be read.
    """
    try:
        message = ExternalStorageReference()
        return _take(json_format.ParseDict(document, message, ignore_unknown_fields=True))  # type: ignore[arg-type]
    except Exception:  # as above
        raise MalformedEnvelope("a reference to external storage can't be read") from None


def _take(message: ExternalStorageReference) -> Reference:
    """Return what ``message`` says. Raise ValueError if it says nothing: protobuf takes lists and texts for that."""
    if not message.driver_name and not message.claim_data:
        raise ValueError
    return Reference(message.driver_name, dict(message.claim_data))


def _parse_earlier(data: bytes) -> Reference:
    """Read the spelling of earlier SDKs. Raise anything if that is not possible."""
    tree = json.loads(data)
    name, claim = tree["driver_name"], tree["driver_claim"]["claim_data"]
    if not isinstance(name, str) or not all(isinstance(text, str) for entry in claim.items() for text in entry):
        raise ValueError
    return Reference(name, claim)
