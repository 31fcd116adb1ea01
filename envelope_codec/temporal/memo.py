"""Memo fields that are null. Temporal's server drops them by their bytes, which it can't see once they are sealed."""

from __future__ import annotations

from collections.abc import MutableMapping

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.api.workflowservice.v1 import SignalWithStartWorkflowExecutionRequest
from temporalio.bridge.proto.workflow_commands import ScheduleNexusOperation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion

from envelope_codec.temporal.activation import SYSTEM_ENDPOINT, unmark

_DROPPED = (b"", b"null", b"[]")
_SIGNAL_WITH_START = SignalWithStartWorkflowExecutionRequest.DESCRIPTOR.full_name.encode()


def is_dropped(payload: Payload) -> bool:
    """Whether the server drops a memo field with this value. It looks at ``data`` alone, whatever the encoding."""
    return payload.data in _DROPPED


def apply_null_memos(completion: WorkflowActivationCompletion) -> list[Payload]:
    """Treat null memo fields in commands as the server would, in place. Fields that it must see itself stay.

    Returns:
        The payloads in ``completion`` that must reach the server in clear.
    """
    untouched: list[Payload] = []
    for command in completion.successful.commands:
        variant = command.WhichOneof("variant")
        if variant == "modify_workflow_properties":
            # The server removes these fields from the memo, and has to see them for that.
            fields = command.modify_workflow_properties.upserted_memo.fields
            untouched.extend(_strip(payload) for payload in fields.values() if is_dropped(payload))
        elif variant == "start_child_workflow_execution":
            drop_nulls(command.start_child_workflow_execution.memo)
        elif variant == "continue_as_new_workflow_execution":
            # Without any field, the next run would inherit the memo. With null fields alone it has none.
            memo = command.continue_as_new_workflow_execution.memo
            if memo and all(map(is_dropped, memo.values())):
                untouched.extend(map(_strip, memo.values()))
            else:
                drop_nulls(memo)
        elif variant == "schedule_nexus_operation":
            _drop_nulls_of_signal_with_start(command.schedule_nexus_operation)
    return untouched


def _strip(payload: Payload) -> Payload:
    """Take out of ``payload``, which goes out in clear, all but its ``data`` and encoding. Returns it."""
    for name in [name for name in payload.metadata if name != "encoding"]:
        del payload.metadata[name]
    payload.ClearField("external_payloads")
    return payload


def drop_nulls(memo: MutableMapping[str, Payload]) -> None:
    """Remove the fields that the server drops, in place."""
    for name in [name for name, payload in memo.items() if is_dropped(payload)]:
        del memo[name]


def _drop_nulls_of_signal_with_start(operation: ScheduleNexusOperation) -> None:
    """Remove null memo fields from a workflow's signal with start, a message to the system's own Nexus endpoint."""
    payload = operation.input
    if operation.endpoint != SYSTEM_ENDPOINT or payload.metadata.get("messageType") != _SIGNAL_WITH_START:
        return
    try:
        request = SignalWithStartWorkflowExecutionRequest.FromString(payload.data)
    except DecodeError:
        return
    before = request.ByteSize()
    drop_nulls(request.memo.fields)
    unmark(request)
    if request.ByteSize() != before:
        payload.data = request.SerializeToString()
