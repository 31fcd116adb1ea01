"""Workflows of the types of this package's own: audits and rewraps are left out, what only calls itself so is not."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryResponse

from envelope_codec.cli.audit.checkpoint import Checkpoint
from envelope_codec.cli.audit.findings import Findings
from envelope_codec.cli.audit.need import KeyVersion
from envelope_codec.cli.audit.report import Report
from envelope_codec.cli.audit.scan import Scan
from tests.support.audit_in_pieces import audit_in_pieces
from tests.support.audited_payloads import under
from tests.support.audited_server import AuditedServer, Workflow
from tests.support.rewrapped_rows import Nobody

T0 = 1_700_000_000_000
TYPE = "envelope-codec.audit"


class Run(Workflow):
    """A run with more events than its first."""

    more: tuple[HistoryEvent, ...] = ()

    def history(self) -> GetWorkflowExecutionHistoryResponse:
        events = [*super().history().history.events, *self.more]
        for number, event in enumerate(events, 1):
            event.event_id = number
        return GetWorkflowExecutionHistoryResponse(history=History(events=events))


def run(*more: HistoryEvent, id: str = f"{TYPE}/billing", **named: Any) -> Run:
    made = Run(id, T0 - 9_000, T0 - 5_000, (under("OLD"),), type=TYPE, **named)
    made.more = more
    return made


def activity(name: str) -> HistoryEvent:
    event = HistoryEvent()
    event.activity_task_scheduled_event_attributes.activity_type.name = name
    event.activity_task_scheduled_event_attributes.input.payloads.append(under("OLD"))
    return event


def signal() -> HistoryEvent:
    event = HistoryEvent()
    event.workflow_execution_signaled_event_attributes.input.payloads.append(under("OLD"))
    return event


def noted(payload: Payload) -> HistoryEvent:
    event = activity(f"{TYPE}.read")
    event.user_metadata.summary.CopyFrom(payload)
    return event


async def audits(workflow: Workflow) -> list[Findings]:
    """Audit on one machine, and by workers."""
    server = AuditedServer([workflow])
    scan = Scan(server.reader(), Checkpoint(None, {}, T0), Nobody(), wait=0)
    return [await scan.run(), await audit_in_pieces(server, T0)]


async def test_runs_of_audits_are_left_out_and_that_is_said() -> None:
    for found in await audits(run(activity(f"{TYPE}.read"), activity(f"{TYPE}.keep"))):
        assert (found.whole.needs, found.whole.sources, found.whole.own) == ({}, 0, 1)
        assert ("left out", "1 run of audits and rewraps themselves") in list(Report(found, "s", "n").besides())


@pytest.mark.parametrize(
    "workflow",
    [
        run(id="order-7"),
        run(id="envelope-codec.rewrap/add"),
        run(signal()),
        run(activity("charge")),
        run(HistoryEvent()),
        run(noted(under("OLD"))),
        run(memo={"m": under("OLD")}),
    ],
)
async def test_what_only_calls_itself_an_audit_counts(workflow: Workflow) -> None:
    """Else whoever gives a workflow this type would hide that it needs a master key."""
    for found in await audits(workflow):
        assert found.whole.needs[KeyVersion("OLD", "")].payloads > 0
        assert (found.others.sources, found.whole.own) == (1, 0)
