"""Which stored payloads a message of Temporal's API refers to, however the reference is dressed."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from temporalio.api.common.v1 import Memo, Payload, Payloads
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryResponse,
    SignalWithStartWorkflowExecutionRequest,
)
from temporalio.converter import JSONPlainPayloadConverter, JSONProtoPayloadConverter

from envelope_codec import ContextMismatch, EnvelopeConfig, EnvelopeError, InvalidCiphertext, MalformedEnvelope
from envelope_codec.cli.storage.references import ids_in
from envelope_codec.storage.claim import Claim
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms

IDS = ["0123456789abcdef" * 2, "fedcba9876543210" * 2]


@pytest.fixture
def codec() -> EnvelopeCodec:
    return EnvelopeCodec(EnvelopeConfig(key=FakeKms()))


def reference(claim_data: dict[str, str], driver: str = "envelope-file") -> Payload:
    message = ExternalStorageReference(driver_name=driver, claim_data=claim_data)
    payload = JSONProtoPayloadConverter().to_payload(message)
    assert payload is not None
    payload.external_payloads.add().size_bytes = 100
    return payload


async def sealed_reference(codec: EnvelopeCodec, id: str, driver: str = "envelope-file") -> Payload:
    return reference(await Claim.of(id, b"data").seal(codec), driver)


async def test_finds_references_wherever_they_stand(codec: EnvelopeCodec) -> None:
    event = HistoryEvent()
    event.workflow_execution_started_event_attributes.input.payloads.append(await sealed_reference(codec, IDS[0]))
    event.workflow_execution_started_event_attributes.header.fields["h"].data = b"plain"
    history = GetWorkflowExecutionHistoryResponse(history=History(events=[event]))
    memo = WorkflowExecutionInfo(memo=Memo(fields={"m": await sealed_reference(codec, IDS[1], "former")}))
    assert await ids_in(history, codec) == {IDS[0]}
    assert await ids_in(memo, codec) == {IDS[1]}, "of whatever name the store was"
    other_case = await sealed_reference(codec, IDS[0])
    other_case.data = other_case.data.replace(b'"claimData"', b'"claim_data"')  # as JSON of protobuf may have it
    assert await ids_in(other_case, codec) == {IDS[0]}
    assert await ids_in(GetWorkflowExecutionHistoryResponse(), codec) == set()


async def test_finds_references_that_the_sdks_codec_encoded(codec: EnvelopeCodec) -> None:
    """The SDK does so in a later release; its readers do by now."""
    [encoded] = await codec.encode([await sealed_reference(codec, IDS[0])])
    encoded.metadata["__temporal_external_storage_reference"] = b"true"
    encoded.external_payloads.add().size_bytes = 100
    assert await ids_in(Payloads(payloads=[encoded]), codec) == {IDS[0]}


async def test_a_reference_that_another_codec_encoded_besides_is_an_error(codec: EnvelopeCodec) -> None:
    """As of who has a codec of his own: what the reference leads to would count as an orphan."""
    inner = await sealed_reference(codec, IDS[0])
    [encoded] = await codec.encode([Payload(metadata={"encoding": b"binary/zip"}, data=inner.SerializeToString())])
    encoded.metadata["__temporal_external_storage_reference"] = b"true"
    with pytest.raises(MalformedEnvelope):
        await ids_in(Payloads(payloads=[encoded]), codec)


async def test_finds_references_in_messages_of_the_servers_that_are_json(codec: EnvelopeCodec) -> None:
    """As of a batch operation that sends a signal."""
    signal = Payloads(payloads=[await sealed_reference(codec, IDS[0]), await encoded_reference(codec, IDS[1])])
    document = {"request": {"signalOperation": {"signal": "s", "input": json_format.MessageToDict(signal)}}}
    batch = Payload(data=json.dumps(document).encode())
    batch.metadata["encoding"] = b"json/protobuf"
    batch.metadata["messageType"] = b"temporal.server.api.batch.v1.BatchOperationInput"
    assert await ids_in(Payloads(payloads=[batch]), codec) == set(IDS)


async def encoded_reference(codec: EnvelopeCodec, id: str) -> Payload:
    [encoded] = await codec.encode([await sealed_reference(codec, id)])
    encoded.metadata["__temporal_external_storage_reference"] = b"true"
    return encoded


async def test_finds_references_of_earlier_sdks(codec: EnvelopeCodec) -> None:
    claim = await Claim.of(IDS[0], b"data").seal(codec)
    legacy = JSONPlainPayloadConverter(encoding="json/external-storage-reference").to_payload(
        {"driver_name": "envelope-file", "driver_claim": {"claim_data": claim}}
    )
    assert legacy is not None
    assert await ids_in(Payloads(payloads=[legacy]), codec) == {IDS[0]}


async def test_finds_references_inside_what_temporal_wraps(codec: EnvelopeCodec) -> None:
    inner = SignalWithStartWorkflowExecutionRequest(
        input=Payloads(payloads=[await sealed_reference(codec, IDS[0])]),
        signal_input=Payloads(payloads=[await sealed_reference(codec, IDS[1])]),
    )
    payload = Payload(data=inner.SerializeToString())
    payload.metadata["encoding"] = b"binary/protobuf"
    payload.metadata["messageType"] = SignalWithStartWorkflowExecutionRequest.DESCRIPTOR.full_name.encode()
    payload.metadata["__temporal_system_payload"] = b"true"
    assert await ids_in(Payloads(payloads=[payload]), codec) == set(IDS)
    payload.data = b"\xff"
    with pytest.raises(MalformedEnvelope):
        await ids_in(Payloads(payloads=[payload]), codec)


async def test_others_references_do_not_count(codec: EnvelopeCodec) -> None:
    theirs = reference({"bucket": "b", "key": "k", "hash_algorithm": "sha256", "hash_value": "0"}, "aws.s3driver")
    [envelope] = await codec.encode([Payload(data=b"inline")])
    assert await ids_in(Payloads(payloads=[theirs, envelope, Payload(data=b"plain")]), codec) == set()


async def payloads_of(codec: EnvelopeCodec, defect: str) -> Payload:
    if defect == "other key":
        return await sealed_reference(EnvelopeCodec(EnvelopeConfig(key=FakeKms())), IDS[0])
    good = await sealed_reference(codec, IDS[0])
    document = json.loads(good.data)
    if defect == "no JSON":
        good.data = b"{"
    elif defect == "no claim":
        good.data = b"{}"
    elif defect == "a list":
        good.data = b"[]"
    elif defect == "changed":
        text = bytearray(base64.b64decode(document["claimData"]["envelope"]))
        text[-1] ^= 1
        document["claimData"]["envelope"] = base64.b64encode(text).decode()
        good.data = json.dumps(document).encode()
    else:
        document["claimData"]["envelope"] = "no base64!"
        good.data = json.dumps(document).encode()
    return good


@pytest.mark.parametrize("defect", ["other key", "no JSON", "no claim", "a list", "changed", "no base64"])
async def test_what_can_not_be_opened_is_an_error(codec: EnvelopeCodec, defect: str) -> None:
    """Or what it refers to would count as an orphan."""
    message: Message = Payloads(payloads=[await payloads_of(codec, defect)])
    with pytest.raises(EnvelopeError) as caught:
        await ids_in(message, codec)
    expected: dict[str, Any] = {"changed": InvalidCiphertext, "other key": EnvelopeError}
    assert isinstance(caught.value, expected.get(defect, MalformedEnvelope))
    assert not isinstance(caught.value, ContextMismatch)


async def test_a_reference_in_a_field_of_a_later_server_is_an_error(codec: EnvelopeCodec) -> None:
    """Nothing here knows the field. A search that passed over it would delete the payload."""
    attributes = Payloads(payloads=[await sealed_reference(codec, IDS[0])]).SerializeToString()
    size = bytes((len(attributes) & 0x7F | 0x80, len(attributes) >> 7))
    event = HistoryEvent.FromString(b"\xe2\x76" + size + attributes)
    with pytest.raises(MalformedEnvelope, match="newer server"):
        await ids_in(History(events=[event]), codec)
