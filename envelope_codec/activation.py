"""What Temporal's SDK gives to a workflow without having asked a codec."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.bridge.proto.workflow_activation import WorkflowActivation

from envelope_codec.clear import SYSTEM_MARK
from envelope_codec.errors import EncryptionRequired

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


def _payloads(message: Message) -> Iterator[Payload]:
    for _, value in message.ListFields():
        values = [value] if isinstance(value, Message) else value.values() if hasattr(value, "values") else value
        for found in values if not isinstance(value, (str, bytes, int, float)) else ():
            if isinstance(found, Payload):
                yield found
            elif isinstance(found, Message):
                yield from _payloads(found)
