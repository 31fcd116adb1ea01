"""Which payloads in a datastore the messages of Temporal's API refer to."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload

from envelope_codec.errors import MalformedEnvelope
from envelope_codec.storage.claim import Claim, is_sealed
from envelope_codec.storage.reference import is_encoded_reference, parse_reference, strip_mark
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.nested_message import has_unknown_payloads
from envelope_codec.temporal.payload_walk import walk
from envelope_codec.temporal.system_payloads import is_reference


async def ids_in(message: Message, codec: EnvelopeCodec) -> set[str]:
    """Find the ids of all stored payloads that ``message`` refers to.

    References of other drivers don't count: no id of ours is in them.

    Raises:
        EnvelopeError: one of them can't be opened, or there may be one where this release can't look.
    """
    if has_unknown_payloads(message):
        raise MalformedEnvelope("a message of a newer server has payloads in a field that this release does not know")
    ids = set()
    for found in walk(message):
        if found.unreadable:
            raise MalformedEnvelope("a payload that Temporal wrote itself can't be read")
        if isinstance(found.message, Payload):
            claim = _claim(await _decoded(found.message, codec))
            if claim is not None:
                ids.add((await Claim.open(claim, codec)).id)
    return ids


async def _decoded(payload: Payload, codec: EnvelopeCodec) -> Payload:
    if not is_encoded_reference(payload):
        return payload
    [reference] = await codec.decode([strip_mark(payload)])
    if not is_reference(reference):  # another codec has encoded it besides
        raise MalformedEnvelope("a reference to external storage can't be read")
    return reference


def _claim(payload: Payload) -> Mapping[str, str] | None:
    """Return the claim data, if ``payload`` is a reference that one of our drivers made."""
    if not is_reference(payload):
        return None
    claim = parse_reference(payload).claim_data
    if not claim:  # every driver says something
        raise MalformedEnvelope("a reference to external storage can't be read")
    return claim if is_sealed(claim) else None
