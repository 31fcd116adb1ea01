"""Failures whose message or stack trace is in clear."""

from __future__ import annotations

import pytest
from google.protobuf.json_format import MessageToDict
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure, ResetWorkflowFailureInfo
from temporalio.api.history.v1 import (
    ActivityTaskFailedEventAttributes,
    HistoryEvent,
)

from tests.support.inspected_payloads import Run, as_json, envelope


@pytest.mark.parametrize(
    ("failure", "in_clear"),
    [
        (Failure(message="marigold"), True),
        (Failure(stack_trace="marigold"), True),
        (Failure(message="Worker shutting down", stack_trace="marigold"), True),
        (Failure(message="Encoded failure", encoded_attributes=envelope()), False),
        (Failure(message="activity StartToClose timeout", source="Server"), False),
        (Failure(message="a reason to reset", reset_workflow_failure_info=ResetWorkflowFailureInfo()), False),
        (Failure(message="[TMPRL1100] Nondeterminism error: …"), False),
        (Failure(message="Failed encoding completion: the KMS did not answer"), False),
        (Failure(message="Activity task failed"), False),
        (Failure(application_failure_info=ApplicationFailureInfo(type="Sorry")), False),
    ],
)
def test_failure_messages_in_clear_are_told(run: Run, failure: Failure, in_clear: bool) -> None:
    outer = Failure(message="Encoded failure", encoded_attributes=envelope(), cause=failure)
    attributes = ActivityTaskFailedEventAttributes(failure=outer)
    event = HistoryEvent(event_type=13, activity_task_failed_event_attributes=attributes)  # type: ignore[arg-type]
    place = "activityTaskFailedEventAttributes.failure.cause"
    assert run(as_json(event), "--json").document["failures_in_clear"] == [place] * in_clear
    snake_case = MessageToDict(event, preserving_proto_field_name=True)
    assert len(run(snake_case, "--json").document["failures_in_clear"]) == in_clear
    assert (f"failures in clear   1, first {place}" in run(as_json(event)).out) is in_clear
