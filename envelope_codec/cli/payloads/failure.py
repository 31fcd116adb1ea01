"""Failures in a history that tell something of an application in clear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ENCODED = "Encoded failure"  # stands in place of the message that is in the encoded attributes
_FIXED_MESSAGES = (
    "Activity task failed",
    "Child Workflow execution failed",
    "Worker shutting down",
    "nexus operation completed unsuccessfully",
)
_OF_THE_SDK = ("[TMPRL", "Failed encoding completion: ", "Failed converting ", "Failed building ")


def tells_in_clear(failure: Mapping[str, Any]) -> bool:
    """Whether a failure has a message or stack trace of an application in clear.

    The failure of a reset does not count: its message is the reason of the reset, which is for Temporal to read.
    """

    def get(camel_case: str, snake_case: str) -> Any:
        return failure.get(camel_case, failure.get(snake_case))

    if get("encodedAttributes", "encoded_attributes") or failure.get("source") == "Server":
        return False
    if get("resetWorkflowFailureInfo", "reset_workflow_failure_info") is not None:
        return False
    message, trace = failure.get("message"), get("stackTrace", "stack_trace")
    if isinstance(message, str) and (message in _FIXED_MESSAGES or message.startswith(_OF_THE_SDK)):
        return bool(trace)
    return bool(trace) or message not in (None, "", _ENCODED)
