"""Payloads with the mark of Temporal's SDK. It gives them to a workflow, and takes them from one, without a codec."""

from __future__ import annotations

from google.protobuf.message import Message
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion

from envelope_codec.errors import EncryptionRequired
from envelope_codec.temporal.payload_walk import payloads_in
from envelope_codec.temporal.system_payloads import SYSTEM_MARK

SYSTEM_ENDPOINT = "__temporal_system"
"""The endpoint of Nexus operations that the server itself carries out for the SDK."""

_MARK = SYSTEM_MARK.encode()


def refuse_system_payloads(activation: WorkflowActivation) -> None:
    """Refuse an activation that holds a payload with the SDK's mark. For where encryption is required.

    The mark belongs to messages to the system's Nexus endpoint. The SDK opens a payload with it in results, headers
    and memos by itself, and gives it to the workflow. But nothing that is sent in this direction has the mark by right:
    whoever wrote one had no key.

    Args:
        activation: decoded, and not yet given to the workflow.

    Raises:
        EncryptionRequired: there is such a payload.
    """
    if _MARK not in activation.SerializeToString():
        return
    if any(SYSTEM_MARK in payload.metadata for payload in payloads_in(activation)):
        raise EncryptionRequired("the payload is not encrypted, and encryption is required", operation="open")


def unmark(message: Message) -> None:
    """Take the SDK's mark from every payload in ``message``, in place. The SDK gives no codec a payload that has it."""
    if _MARK not in message.SerializeToString():
        return
    for payload in payloads_in(message):
        if payload.metadata.get(SYSTEM_MARK) is not None:
            del payload.metadata[SYSTEM_MARK]


def unmark_commands(completion: WorkflowActivationCompletion) -> None:
    """Take the SDK's mark from every payload that a workflow sends, but for messages to the system's endpoint."""
    if _MARK not in completion.SerializeToString():
        return
    for command in completion.successful.commands:
        operation = command.schedule_nexus_operation if command.HasField("schedule_nexus_operation") else None
        if operation is None or operation.endpoint != SYSTEM_ENDPOINT:
            unmark(command)
    unmark(completion.failed)
