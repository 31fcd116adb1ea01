"""The envelope in a reference to external storage: what is kept there under it can't be read without its key."""

from __future__ import annotations

import base64
import json
from typing import Any

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference

REFERENCE = ExternalStorageReference.DESCRIPTOR.full_name

_FIELD = "envelope"  # what `envelope_codec.storage.claim` writes, and all of it
_LONGEST = 65_536


def is_reference(payload: Payload) -> bool:
    """Whether ``payload`` is a reference to external storage, by whatever driver."""
    metadata = payload.metadata
    return metadata.get("encoding") == b"json/protobuf" and metadata.get("messageType") == REFERENCE.encode()


def claim_of(payload: Payload) -> Payload | None:
    """The sealed claim in a reference that this project's drivers made, else None. Nothing is opened."""
    try:
        reference = json.loads(payload.data)
    except (ValueError, RecursionError):
        return None
    return claim_in(reference)


def claim_in(reference: Any) -> Payload | None:
    """The same for a reference that is JSON already."""
    names = ("claimData", "claim_data")
    data = next((reference[name] for name in names if name in reference), None) if isinstance(reference, dict) else None
    text = data.get(_FIELD) if isinstance(data, dict) and data.keys() == {_FIELD} else None
    if not isinstance(text, str) or len(text) > _LONGEST:
        return None
    try:
        return Payload.FromString(base64.b64decode(text, validate=True))
    except (ValueError, DecodeError):
        return None
