"""What Temporal writes in clear itself passes where encryption is required, and nothing that only looks like it."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.common.v1 import Link, Payload
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.api.workflowservice.v1 import (
    QueryWorkflowResponse,
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
)
from temporalio.converter import JSONProtoPayloadConverter

from envelope_codec import EncryptionRequired, EnvelopeConfig
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.system_payloads import (
    REFERENCE as REFERENCE_NAME,
)
from envelope_codec.temporal.system_payloads import (
    SYSTEM_NEXUS,
    admit,
    describe_clear_payload,
    is_exact_reference,
    is_reference,
    parse_system_nexus_message,
)
from envelope_codec.testing import FakeKms


def codec(**settings: Any) -> EnvelopeCodec:
    return EnvelopeCodec(EnvelopeConfig(key=FakeKms(), **settings))


def message(value: Any, encoding: bytes = b"binary/protobuf", **metadata: bytes) -> Payload:
    name = value.DESCRIPTOR.full_name.encode()
    return Payload(metadata={"encoding": encoding, "messageType": name, **metadata}, data=value.SerializeToString())


MARK = {"__temporal_system_payload": b"true"}
RUN_ID = "01a221ae-1d45-7688-b558-f47095d12542"


def words(text: str, **metadata: bytes) -> Payload:
    return Payload(metadata={"encoding": b"json/plain", **metadata}, data=f'"{text}"'.encode())


REFERENCE = JSONProtoPayloadConverter().to_payload(ExternalStorageReference(driver_name="s3"))
assert REFERENCE is not None


@pytest.mark.parametrize(
    "payload",
    [
        message(SignalWithStartWorkflowExecutionResponse()),
        message(SignalWithStartWorkflowExecutionResponse(run_id=RUN_ID, started=True)),
        words(f"terminated by new runID: {RUN_ID}"),
        words("terminated by version: -24"),
        words("transaction size of 4500000 bytes exceeds limit of 4194304 bytes"),
        words("ACTIVITY_ID_NOT_STARTED"),
    ],
)
async def test_what_temporal_writes_itself_passes_although_encryption_is_required(payload: Payload) -> None:
    assert describe_clear_payload(payload)
    assert await codec(require_encryption=True).decode([payload]) == [payload]


@pytest.mark.parametrize(
    "payload",
    [
        Payload(metadata={"encoding": b"json/plain", **MARK}, data=b'"text"'),
        Payload(metadata={"encoding": b"json/plain", "messageType": REFERENCE.metadata["messageType"]}, data=b"{}"),
        message(SignalWithStartWorkflowExecutionRequest()),
        message(SignalWithStartWorkflowExecutionResponse(), b"json/plain"),
        message(QueryWorkflowResponse()),
        message(QueryWorkflowResponse(), **MARK),
        Payload(
            metadata={"encoding": b"binary/protobuf", "messageType": b"temporal.api.common.v1.Payloads", **MARK},
            data=b"",
        ),
        Payload(metadata={"encoding": b"json/protobuf", "messageType": b"mine.Message"}, data=b"{}"),
        Payload(metadata={"encoding": b"binary/null"}),
        Payload(),
    ],
)
async def test_plaintext_dressed_up_as_temporals_own_is_refused(payload: Payload) -> None:
    assert describe_clear_payload(payload) is None
    await refused(payload)


async def refused(payload: Payload) -> None:
    with pytest.raises(EncryptionRequired):
        await codec(require_encryption=True).decode([payload])


ANSWER = message(SignalWithStartWorkflowExecutionResponse(run_id=RUN_ID, started=True))


def answer(data: bytes, **metadata: bytes) -> Payload:
    return Payload(metadata={**ANSWER.metadata, **metadata}, data=data)


@pytest.mark.parametrize(
    "payload",
    [
        answer(b'{"pay":"mallory"}'),  # no message at all
        answer(ANSWER.data + b"\x7a\x03pay"),  # an unknown field
        answer(ANSWER.data + ANSWER.data),  # the same field twice
        answer(ANSWER.data[:-2] + b"\x10\x00"),  # a default, written out
        answer(ANSWER.data[:-1] + b"\x81\x00"),  # a number in more bytes than it takes
        answer(ANSWER.data[-2:] + ANSWER.data[:-2]),  # in another order
        answer(ANSWER.data, more=b"x"),
        answer(ANSWER.data, **MARK),
        answer(ANSWER.data, __temporal_system_payload=b"pay mallory"),
        Payload.FromString(ANSWER.SerializeToString() + b"\x7a\x03pay"),
        Payload.FromString(words("ACTIVITY_ID_NOT_STARTED").SerializeToString() + b"\x7a\x03pay"),
        Payload.FromString(
            Payload(metadata={"encoding": b"json/plain"}, data=b'{"message":"","details":1}').SerializeToString()
            + b"\x7a\x03pay"
        ),
        REFERENCE,
        JSONProtoPayloadConverter().to_payload(ExternalStorageReference(driver_name="pay mallory")),
        Payload(
            metadata={"encoding": b"json/external-storage-reference"},
            data=b'{"driver_claim":{"claim_data":{"at":"pay mallory"}},"driver_name":"s3"}',
        ),
        message(SignalWithStartWorkflowExecutionResponse(run_id='{"pay":"mallory"}')),
        message(SignalWithStartWorkflowExecutionResponse(run_id=RUN_ID + "\n")),
        message(SignalWithStartWorkflowExecutionRequest(workflow_id="mallory"), **MARK),
        message(SignalWithStartWorkflowExecutionRequest(), **MARK),
        Payload(metadata=REFERENCE.metadata, data=b'{"driverName": "s3"}'),
        Payload(metadata=REFERENCE.metadata, data=b'{"driverName":"s3","pay":"mallory"}'),
        Payload(metadata=REFERENCE.metadata, data=b'{"driver_name":"s3"}'),
        Payload(metadata=REFERENCE.metadata, data=b"mallory"),
        Payload(metadata={**REFERENCE.metadata, "more": b"x"}, data=REFERENCE.data),
        *(
            Payload(metadata={"encoding": b"json/external-storage-reference"}, data=data)
            for data in (
                b"{}",
                b'"mallory"',
                b'{"driver_claim":{"claim_data":{"at":7}},"driver_name":"s3"}',
                b'{"driver_claim":{"claim_data":{}},"driver_name":"s3","pay":"mallory"}',
                b'{"driver_claim":{"claim_data":{}}, "driver_name":"s3"}',
                b"[" * 100_000,
            )
        ),
        words(f"terminated by new runID: {RUN_ID}", more=b"x"),
        words(f"terminated by new runID: {RUN_ID} pay mallory"),
        words(f"pay mallory, terminated by new runID: {RUN_ID}"),
        words(f"terminated by new runID: {RUN_ID.upper()}"),
        words("terminated by new runID: mallory"),
        words(f"terminated by new runID: {RUN_ID}\n"),
        Payload(metadata={"encoding": b"json/plain"}, data=f'"terminated by new runID: {RUN_ID}"\n'.encode()),
        words("terminated by version: mallory"),
        words("ACTIVITY_ID_UNKNOWN"),
        words(""),
        Payload(metadata={"encoding": b"binary/plain"}, data=b'"ACTIVITY_ID_NOT_STARTED"'),
    ],
)
async def test_what_is_not_exactly_what_it_says_is_refused(payload: Payload) -> None:
    await refused(payload)


async def test_of_the_system_endpoints_answer_the_link_is_left_away() -> None:
    link = Link(workflow_event=Link.WorkflowEvent(namespace="default", workflow_id="pay mallory", run_id=RUN_ID))
    given = message(SignalWithStartWorkflowExecutionResponse(run_id=RUN_ID, started=True, signal_link=link))
    assert await codec(require_encryption=True).decode([given]) == [ANSWER]
    assert await codec().decode([given]) == [given]


NEXUS_DETAILS = [
    b'{"message":"","metadata":{"k":"pay mallory"}}',
    b'{"message":"","details":"pay mallory"}',
    b'{"message":"","metadata":{},"details":{"pay":"mallory"},"cause":{"message":"mallory"}}',
]
NOT_NEXUS_DETAILS = [
    b'{"message":""}',
    b'{"message":"","cause":{"message":"mallory"}}',
    b'{"message":"mallory","details":1}',
    b'{"message":"","details":1,"pay":"mallory"}',
    b'{"message":"","metadata":{"k":1}}',
    b'{"message":"","metadata":[]}',
    b'{"details":1,"message":""}',
    b'{"message":"",',
    b'{"message":"","details":' + b"[" * 100_000,
]


@pytest.mark.parametrize("data", NEXUS_DETAILS)
async def test_details_from_outside_temporal_block_no_workflow_and_say_nothing(data: bytes) -> None:
    given = Payload(metadata={"encoding": b"json/plain"}, data=data)
    [passed] = await codec(require_encryption=True).decode([given])
    assert passed.data == b'"removed: not encrypted"'
    passed.data = b"changed by who got it"
    [again] = await codec(require_encryption=True).decode([given])
    assert again.data == b'"removed: not encrypted"'
    assert await codec().decode([given]) == [given]


@pytest.mark.parametrize("data", NOT_NEXUS_DETAILS)
async def test_what_looks_like_details_from_outside_temporal_is_refused(data: bytes) -> None:
    await refused(Payload(metadata={"encoding": b"json/plain"}, data=data))


# --- references to external storage -----------------------------------------------------------------------------------

LEGACY = Payload(
    metadata={"encoding": b"json/external-storage-reference"},
    data=b'{"driver_claim":{"claim_data":{"at":"7"}},"driver_name":"s3"}',
)


@pytest.mark.parametrize("payload", [REFERENCE, LEGACY], ids=["current", "legacy"])
def test_a_reference_is_exact_where_the_sdk_could_have_written_it(payload: Payload) -> None:
    assert is_reference(payload)
    assert is_exact_reference(payload)
    assert describe_clear_payload(payload) == REFERENCE_NAME
    assert admit(payload) is None, "the SDK gives no codec a reference of its own"


@pytest.mark.parametrize(
    "payload",
    [
        Payload(metadata=REFERENCE.metadata, data=b'{"driverName": "s3"}'),
        Payload(metadata={**REFERENCE.metadata, "more": b"x"}, data=REFERENCE.data),
        Payload(metadata=REFERENCE.metadata, data=b"in clear"),
        Payload(metadata={**LEGACY.metadata, "more": b"x"}, data=LEGACY.data),
        Payload(metadata=LEGACY.metadata, data=b'{"driver_claim":{"claim_data":{"at":7}},"driver_name":"s3"}'),
        Payload(metadata=LEGACY.metadata, data=LEGACY.data + b"\n"),
        Payload(metadata=LEGACY.metadata, data=b"in clear"),
        Payload(metadata=LEGACY.metadata, data=b"[" * 100_000),
    ],
)
def test_what_only_claims_to_be_a_reference_is_none(payload: Payload) -> None:
    assert is_reference(payload)
    assert not is_exact_reference(payload)


def test_what_claims_to_be_no_reference_is_none() -> None:
    assert not is_exact_reference(Payload(metadata={"encoding": b"json/plain"}, data=LEGACY.data))


# --- messages of the system's Nexus endpoint --------------------------------------------------------------------------


def test_a_message_of_the_systems_nexus_endpoint_is_read() -> None:
    request = SignalWithStartWorkflowExecutionRequest(workflow_id="w")
    assert parse_system_nexus_message(message(request, **MARK)) == request
    assert parse_system_nexus_message(message(request)) is None, "without the mark it is the user's"
    assert parse_system_nexus_message(ANSWER) == SignalWithStartWorkflowExecutionResponse(run_id=RUN_ID, started=True)
    assert parse_system_nexus_message(message(QueryWorkflowResponse(), **MARK)) is None
    assert describe_clear_payload(message(request, **MARK)) == SYSTEM_NEXUS
