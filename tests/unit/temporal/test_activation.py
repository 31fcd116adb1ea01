"""What the SDK lets past every codec gets to no workflow where encryption is required."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import SignalWithStartWorkflowExecutionRequest
from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.bridge.worker import decode_activation
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from envelope_codec import EncryptionRequired, EnvelopePlugin, envelope_data_converter
from envelope_codec.temporal.activation import refuse_system_payloads
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


@pytest.mark.parametrize("put", [result, header, of_nexus])
async def test_a_users_own_that_was_sealed_with_the_mark_stops_no_workflow(put: Any) -> None:
    converter = envelope_data_converter(FakeKms(), require_encryption=True)
    assert converter.payload_codec is not None
    [sealed] = await converter.payload_codec.encode([marked(MESSAGES[1])])
    activation = WorkflowActivation()
    put(activation.jobs.add(), sealed)
    await decode_activation(activation, converter, True, 1)
    assert b"pay mallory" in activation.SerializeToString()
    refuse_system_payloads(activation)


def test_user_data_may_speak_of_the_mark() -> None:
    activation = WorkflowActivation()
    refuse_system_payloads(activation)
    header(activation.jobs.add(), Payload(metadata={"encoding": b"json/plain"}, data=b'"__temporal_system_payload"'))
    activation.jobs.add().signal_workflow.signal_name = "__temporal_system_payload"
    refuse_system_payloads(activation)


class Instance:
    """Stands for the SDK's."""

    def __init__(self) -> None:
        self.activated = 0

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        self.activated += 1
        return WorkflowActivationCompletion(run_id="a completion")


@pytest.mark.parametrize("runner", [SandboxedWorkflowRunner(), UnsandboxedWorkflowRunner()])
@pytest.mark.parametrize("required", [True, False])
async def test_workers_and_replayers_refuse_it(runner: Any, required: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = Instance()
    monkeypatch.setattr(type(runner), "create_instance", lambda self, det: instance)
    activation = WorkflowActivation()
    result(activation.jobs.add(), marked(MESSAGES[0]))
    with EnvelopePlugin(FakeKms(), require_encryption=required) as plugin:
        client = await Client.connect("localhost:1", lazy=True, plugins=[plugin])
        worker: Any = plugin.configure_worker({"client": client, "workflow_runner": runner})
        replayer: Any = plugin.configure_replayer({"workflow_runner": runner})
    for config in (worker, replayer):
        made = config["workflow_runner"]
        assert isinstance(made, type(runner))
        used = made.create_instance(None)
        assert used.activate(WorkflowActivation()).run_id == "a completion"
        if required:
            with pytest.raises(EncryptionRequired):
                used.activate(activation)
        else:
            assert used.activate(activation).run_id == "a completion"
    assert instance.activated == (2 if required else 4)
