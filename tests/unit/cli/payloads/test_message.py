"""The payloads in a protobuf message."""

from __future__ import annotations

from temporalio.api.common.v1 import Header, Memo, Payload, Payloads
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes

from envelope_codec.cli.payloads.message import payloads_in


def test_payloads_at_any_depth() -> None:
    one, two, three, four, five = (Payload(data=bytes([number])) for number in range(5))
    event = HistoryEvent(
        workflow_execution_started_event_attributes=WorkflowExecutionStartedEventAttributes(
            input=Payloads(payloads=[one, two]),
            header=Header(fields={"a": three}),
            memo=Memo(fields={"b": four}),
            continued_failure=Failure(
                cause=Failure(application_failure_info=ApplicationFailureInfo(details=Payloads(payloads=[five])))
            ),
        )
    )
    assert sorted(payload.data for payload in payloads_in(event)) == [bytes([number]) for number in range(5)]
