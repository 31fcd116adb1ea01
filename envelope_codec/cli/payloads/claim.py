"""The envelope in a reference to external storage: what is kept there under it can't be read without its key."""

from __future__ import annotations

from typing import Any

from temporalio.api.common.v1 import Payload

from envelope_codec.errors import MalformedEnvelope
from envelope_codec.storage.claim import parse_payload
from envelope_codec.storage.reference import Reference, parse_reference, parse_reference_document


def claim_of(payload: Payload) -> Payload | None:
    """Return the sealed claim in a reference that this project's drivers made, else None. Nothing is opened."""
    try:
        return _claim(parse_reference(payload))
    except MalformedEnvelope:
        return None


def claim_in(document: Any) -> Payload | None:
    """Do the same for a reference that is JSON already."""
    try:
        return _claim(parse_reference_document(document))
    except MalformedEnvelope:
        return None


def _claim(reference: Reference) -> Payload:
    return parse_payload(reference.claim_data)
