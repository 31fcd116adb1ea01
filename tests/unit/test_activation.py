"""What the SDK lets past every codec gets to no workflow where encryption is required."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import SignalWithStartWorkflowExecutionRequest
from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
from temporalio.bridge.worker import decode_activation

from envelope_codec import EncryptionRequired, envelope_data_converter
from envelope_codec.activation import refuse_system_payloads
from envelope_codec.testing import FakeKms


def marked(message: Message) -> Payload:
    kind = message.DESCRIPTOR.full_name.encode()
    metadata = {"encoding": b"binary/protobuf", "messageType": kind, "__temporal_system_payload": b"true"}
    return Payload(metadata=metadata, data=message.SerializeToString())


MESSAGES = [SignalWithStartWorkflowExecutionRequest(workflow_id="pay mallory"), Failure(message="pay mallory")]


def result(job: WorkflowActivationJob, payload: Payload) -> None:
    job.resolve_activity.result.completed.result.CopyFrom(payload)


def header(job: WorkflowActivationJob, payload: Payload) -> None:
    job.initialize_workflow.headers["h"].CopyFrom(payload)


def of_nexus(job: WorkflowActivationJob, payload: Payload) -> None:
    job.resolve_nexus_operation.result.completed.CopyFrom(payload)


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("put", [result, header, of_nexus])
async def test_a_message_that_the_sdk_asks_no_codec_about_is_refused(put: Any, message: Message) -> None:
    activation = WorkflowActivation()
    put(activation.jobs.add(), marked(message))
    converter = envelope_data_converter(FakeKms(), require_encryption=True)
    await decode_activation(activation, converter, True, 1)
    assert b"pay mallory" in activation.SerializeToString(), "the SDK let it past"
    with pytest.raises(EncryptionRequired):
        refuse_system_payloads(activation)


def test_user_data_may_speak_of_the_mark() -> None:
    activation = WorkflowActivation()
    refuse_system_payloads(activation)
    header(activation.jobs.add(), Payload(metadata={"encoding": b"json/plain"}, data=b'"__temporal_system_payload"'))
    activation.jobs.add().signal_workflow.signal_name = "__temporal_system_payload"
    refuse_system_payloads(activation)
