"""Null memo fields in a workflow's commands are treated as Temporal's server treats them."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.workflowservice.v1 import SignalWithStartWorkflowExecutionRequest
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion

from envelope_codec.temporal.activation import SYSTEM_ENDPOINT
from envelope_codec.temporal.memo import apply_null_memos, drop_nulls, is_dropped
from envelope_codec.temporal.system_payloads import SYSTEM_MARK

VALUE = Payload(metadata={"encoding": b"json/plain"}, data=b'"v"')


def null(**metadata: bytes) -> Payload:
    return Payload(metadata={"encoding": b"json/plain", **metadata}, data=b"null")


@pytest.mark.parametrize(
    ("data", "dropped"),
    [(b"", True), (b"null", True), (b"[]", True), (b" null", False), (b"{}", False), (b'""', False), (b"0", False)],
)
def test_the_server_goes_by_the_data_alone(data: bytes, dropped: bool) -> None:
    assert is_dropped(Payload(metadata={"encoding": b"binary/anything"}, data=data)) is dropped


def test_null_fields_are_dropped_in_place() -> None:
    memo = {"value": VALUE, "null": null(), "empty": Payload()}
    drop_nulls(memo)
    assert memo == {"value": VALUE}


def command(completion: WorkflowActivationCompletion, name: str) -> Any:
    return getattr(completion.successful.commands.add(), name)


def fill(memo: Any, **fields: Payload) -> None:
    for name, payload in fields.items():
        memo[name].CopyFrom(payload)


def test_a_null_that_removes_a_field_goes_out_in_clear_and_says_nothing_else() -> None:
    completion = WorkflowActivationCompletion()
    memo = command(completion, "modify_workflow_properties").upserted_memo.fields
    given = null(secret=b"in clear")
    given.external_payloads.add().size_bytes = 7
    fill(memo, gone=given, value=VALUE)
    [untouched] = apply_null_memos(completion)
    assert untouched is memo["gone"], "the very object that is sent"
    assert memo == {"gone": null(), "value": VALUE}


def test_null_fields_of_a_child_are_dropped() -> None:
    completion = WorkflowActivationCompletion()
    memo = command(completion, "start_child_workflow_execution").memo
    fill(memo, gone=null(), value=VALUE)
    assert apply_null_memos(completion) == []
    assert memo == {"value": VALUE}


def test_null_fields_of_the_next_run_are_dropped_where_others_stay() -> None:
    completion = WorkflowActivationCompletion()
    memo = command(completion, "continue_as_new_workflow_execution").memo
    fill(memo, gone=null(), value=VALUE)
    assert apply_null_memos(completion) == []
    assert memo == {"value": VALUE}


def test_a_next_run_with_null_fields_alone_does_not_inherit_the_memo() -> None:
    completion = WorkflowActivationCompletion()
    memo = command(completion, "continue_as_new_workflow_execution").memo
    fill(memo, gone=null(secret=b"in clear"))
    untouched = apply_null_memos(completion)
    assert [id(payload) for payload in untouched] == [id(memo["gone"])]
    assert memo == {"gone": null()}


def test_other_commands_and_memos_without_nulls_stay() -> None:
    completion = WorkflowActivationCompletion()
    fill(command(completion, "modify_workflow_properties").upserted_memo.fields, value=VALUE)
    command(completion, "continue_as_new_workflow_execution").workflow_type = "W"
    command(completion, "complete_workflow_execution").result.CopyFrom(null())
    before = completion.SerializeToString(deterministic=True)
    assert apply_null_memos(completion) == []
    assert completion.SerializeToString(deterministic=True) == before


def signal_with_start(completion: WorkflowActivationCompletion, endpoint: str, data: bytes, name: str = "") -> Any:
    operation = command(completion, "schedule_nexus_operation")
    operation.endpoint = endpoint
    operation.input.metadata["encoding"] = b"binary/protobuf"
    operation.input.metadata["messageType"] = (
        name or SignalWithStartWorkflowExecutionRequest.DESCRIPTOR.full_name
    ).encode()
    operation.input.data = data
    return operation.input


def request() -> SignalWithStartWorkflowExecutionRequest:
    message = SignalWithStartWorkflowExecutionRequest(workflow_id="w")
    fill(message.memo.fields, gone=null(), value=Payload(metadata={SYSTEM_MARK: b"true"}, data=b"v"))
    return message


def test_null_fields_of_a_signal_with_start_are_dropped_and_the_sdks_mark_as_well() -> None:
    completion = WorkflowActivationCompletion()
    sent = signal_with_start(completion, SYSTEM_ENDPOINT, request().SerializeToString())
    assert apply_null_memos(completion) == []
    found = SignalWithStartWorkflowExecutionRequest.FromString(sent.data)
    assert found.memo.fields == {"value": Payload(data=b"v")}
    before = sent.data
    apply_null_memos(completion)
    assert sent.data == before


@pytest.mark.parametrize(
    ("endpoint", "name", "data"),
    [
        ("theirs", "", request().SerializeToString()),
        (SYSTEM_ENDPOINT, "mine.Message", request().SerializeToString()),
        (SYSTEM_ENDPOINT, "", b"\xff\xff"),
    ],
    ids=["another endpoint", "another message", "no message"],
)
def test_what_is_no_signal_with_start_stays(endpoint: str, name: str, data: bytes) -> None:
    completion = WorkflowActivationCompletion()
    sent = signal_with_start(completion, endpoint, data, name)
    assert apply_null_memos(completion) == []
    assert sent.data == data
