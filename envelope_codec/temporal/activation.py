"""What Temporal's SDK gives to a workflow, and takes from one, without having asked a codec: what bears its mark."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion

from envelope_codec.errors import EncryptionRequired
from envelope_codec.temporal.system_payloads import SYSTEM_MARK

SYSTEM_ENDPOINT = "__temporal_system"
"""Of Nexus operations that the SDK has the server itself do."""

_MARK = SYSTEM_MARK.encode()


def refuse_system_payloads(activation: WorkflowActivation) -> None:
    """Refuse an activation with a message of Temporal's own API in it that no codec has seen.

    The SDK opens what bears its mark for messages to the system's Nexus endpoint itself, in results, headers and memos,
    and hands it on. No message in that direction has the mark: whoever wrote one had no key.

    Args:
        activation: decoded. Looked at before a workflow gets it, where encryption is required.

    Raises:
        EncryptionRequired: there is one.
    """
    if _MARK not in activation.SerializeToString():
        return
    if any(SYSTEM_MARK in payload.metadata for payload in _payloads(activation)):
        raise EncryptionRequired("the payload is not encrypted, and encryption is required", operation="open")


def unmark(message: Message) -> None:
    """Take the SDK's mark from every payload in ``message``, in place: no codec is asked about one that has it."""
    if _MARK not in message.SerializeToString():
        return
    for payload in _payloads(message):
        if payload.metadata.get(SYSTEM_MARK) is not None:
            del payload.metadata[SYSTEM_MARK]


def unmark_commands(completion: WorkflowActivationCompletion) -> None:
    """`unmark` for what a workflow hands over. What the SDK sends to the system's endpoint keeps its mark."""
    if _MARK not in completion.SerializeToString():
        return
    for command in completion.successful.commands:
        operation = command.schedule_nexus_operation if command.HasField("schedule_nexus_operation") else None
        if operation is None or operation.endpoint != SYSTEM_ENDPOINT:
            unmark(command)
    unmark(completion.failed)


def _payloads(message: Message) -> Iterator[Payload]:
    for _, value in message.ListFields():
        values = [value] if isinstance(value, Message) else value.values() if hasattr(value, "values") else value
        for found in values if not isinstance(value, (str, bytes, int, float)) else ():
            if isinstance(found, Payload):
                yield found
            elif isinstance(found, Message):
                yield from _payloads(found)
