"""Which payloads in a datastore the messages of Temporal's API refer to."""

from __future__ import annotations

import json
from collections.abc import Iterator

from google.protobuf.message import DecodeError, Message
from temporalio.api.common.v1 import Payload

from envelope_codec.cli.payloads.message import payloads_in
from envelope_codec.errors import MalformedEnvelope
from envelope_codec.storage.claim import Claim
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.system_payloads import is_reference, system_nexus_message

_MARK = "__temporal_external_storage_reference"  # of a reference that the SDK's codec has encoded


async def ids_in(message: Message, codec: EnvelopeCodec) -> set[str]:
    """Ids of all stored payloads that ``message`` refers to.

    References of other drivers don't count: no id of ours is in them.

    Raises:
        EnvelopeError: one of them can't be opened.
    """
    ids = set()
    for payload in _payloads(message):
        claim = _claim(await _decoded(payload, codec))
        if claim is not None:
            ids.add((await Claim.opened(claim, codec)).id)
    return ids


def _payloads(message: Message) -> Iterator[Payload]:
    """All payloads, also those inside what Temporal writes as a payload itself."""
    for payload in payloads_in(message):
        yield payload
        try:
            inner = system_nexus_message(payload)
        except DecodeError:
            raise MalformedEnvelope("a payload that Temporal wrote itself can't be read") from None
        if inner is not None:
            yield from _payloads(inner)


async def _decoded(payload: Payload, codec: EnvelopeCodec) -> Payload:
    if payload.metadata.get(_MARK) != b"true":
        return payload
    encoded = Payload()
    encoded.CopyFrom(payload)
    del encoded.metadata[_MARK]
    del encoded.external_payloads[:]
    [reference] = await codec.decode([encoded])
    if not is_reference(reference):  # another codec has encoded it besides
        raise MalformedEnvelope("a reference to external storage can't be read")
    return reference


def _claim(payload: Payload) -> dict[str, str] | None:
    """The claim data, if ``payload`` is a reference that one of our drivers made."""
    if not is_reference(payload):
        return None
    try:
        reference = json.loads(payload.data)
        data = reference.get("claimData", reference.get("claim_data"))
        if data is None:  # what earlier versions of the SDK wrote
            data = reference["driver_claim"]["claim_data"]
        return dict(data) if Claim.is_sealed(data) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise MalformedEnvelope("a reference to external storage can't be read") from None
