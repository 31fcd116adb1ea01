"""A Temporal server in memory, as far as an audit asks one: lists by time, counts, histories."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from types import SimpleNamespace
from typing import Any

from temporalio.api.common.v1 import Memo, Payload, WorkflowExecution
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.schedule.v1 import ScheduleListEntry
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsResponse,
    DescribeNamespaceResponse,
    DescribeScheduleResponse,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryResponse,
    ListActivityExecutionsResponse,
    ListNexusOperationExecutionsResponse,
    ListSchedulesResponse,
    ListWorkflowExecutionsResponse,
)
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.cli.audit.window import read_timestamp
from envelope_codec.cli.reading.reader import Reader

RETENTION = 30 * 86_400
_TYPES = re.compile(r"WorkflowType (NOT )?IN \(([^)]*)\)")
_BOUND = re.compile(r"(StartTime|CloseTime) (>=|<) '([^']*)'")


@dataclass
class Workflow:
    """A run: when it started and ended, in milliseconds since 1970 (0 if it runs), and its input."""

    id: str
    start: int
    close: int = 0
    payloads: tuple[Payload, ...] = ()
    memo: dict[str, Payload] = field(default_factory=dict)
    type: str = "Work"
    division: str = ""

    @property
    def run_id(self) -> str:
        return f"run of {self.id}"

    def info(self) -> WorkflowExecutionInfo:
        status: Any = 2 if self.close else 1
        execution = WorkflowExecution(workflow_id=self.id, run_id=self.run_id)
        info = WorkflowExecutionInfo(execution=execution, status=status, memo=Memo(fields=self.memo))
        info.type.name = self.type
        if self.division:
            info.search_attributes.indexed_fields["TemporalNamespaceDivision"].data = self.division.encode()
        info.start_time.FromMilliseconds(self.start)
        if self.close:
            info.close_time.FromMilliseconds(self.close)
        return info

    def history(self) -> GetWorkflowExecutionHistoryResponse:
        event = HistoryEvent(event_id=1)
        started = event.workflow_execution_started_event_attributes
        started.input.payloads.extend(self.payloads)
        for name, payload in self.memo.items():
            started.memo.fields[name].CopyFrom(payload)
        return GetWorkflowExecutionHistoryResponse(history=History(events=[event]))

    def meets(self, query: str) -> bool:
        if not is_of_types(self.type, query):
            return False
        bounds, not_closed_before, has_ended = understand(query)
        if not_closed_before and self.close and self.close < not_closed_before:
            return False
        return all(self._meets(*bound) for bound in bounds) and (not has_ended or bool(self.close))

    def _meets(self, name: str, sign: str, moment: int) -> bool:
        mine = self.start if name == "StartTime" else self.close
        return bool(mine) and (mine >= moment if sign == ">=" else mine < moment)


def is_of_types(type: str, query: str) -> bool:
    """Whether a query takes workflows of this type: all, unless it says."""
    found = _TYPES.search(query)
    return found is None or (repr(type) in found[2]) is not bool(found[1])


@lru_cache
def understand(query: str) -> tuple[list[tuple[str, str, int]], int, bool]:
    """Take an audit's query apart: bounds, the moment before which none has ended, and whether all have ended."""
    query, *still = re.split(r"OR CloseTime >= ", query, maxsplit=1)
    if still:
        moment, _, rest = still[0].partition(")")
        still, query = [moment.strip("'")], query + rest
    bounds = [(name, sign, read_timestamp(text)) for name, sign, text in _BOUND.findall(query)]
    return bounds, read_timestamp(still[0]) if still else 0, "CloseTime IS NOT NULL" in query


class AuditedServer:
    """The server.

    Attributes:
        workflows: what it has, by run id.
        config: more of what it says of the namespace.
        before: is called with the name and the request of each call, before it is answered. It may raise.
        asked: the names of all calls.
    """

    def __init__(self, workflows: Iterable[Workflow] = ()) -> None:
        self.workflows = {one.run_id: one for one in workflows}
        self.schedules: dict[str, Payload] = {}
        self.config: dict[str, Any] = {}
        self.namespace_id = "11111111-2222-3333-4444-555555555555"
        self.before: Callable[[str, Any], None] = lambda name, request: None
        self.asked: list[str] = []

    def reader(self) -> Reader:
        return Reader(self.client(), "default")

    def client(self) -> Any:
        """Make what a client is to a reader."""
        calls = (name for name in dir(self) if name.startswith("_answer_"))
        service = SimpleNamespace(**{name.removeprefix("_answer_"): self._call(name) for name in calls})
        return SimpleNamespace(workflow_service=service)

    def _call(self, name: str) -> Any:
        async def call(request: Any, **_: Any) -> Any:
            short = name.removeprefix("_answer_")
            self.asked.append(short)
            self.before(short, request)
            return getattr(self, name)(request)

        return call

    def _answer_describe_namespace(self, request: Any) -> Any:
        described = DescribeNamespaceResponse()
        described.namespace_info.id = self.namespace_id
        described.config.workflow_execution_retention_ttl.FromSeconds(RETENTION)
        described.config.MergeFrom(NamespaceConfig(**self.config))
        return described

    def _answer_count_workflow_executions(self, request: Any) -> Any:
        return CountWorkflowExecutionsResponse(count=len(self._listed(request.query)))

    def _answer_list_workflow_executions(self, request: Any) -> Any:
        listed = self._listed(request.query)
        found = re.findall(r"RunId = '([^']*)'", request.query)
        listed = [one for one in listed if not found or one.run_id in found]
        begin = int(request.next_page_token or b"0")
        end = begin + request.page_size
        token = b"%d" % end if end < len(listed) else b""
        page = [one.info() for one in listed[begin:end]]
        return ListWorkflowExecutionsResponse(executions=page, next_page_token=token)

    def _listed(self, query: str) -> list[Workflow]:
        """List them as a server does: first what runs, then what ended last."""
        found = (one for one in self.workflows.values() if one.meets(query))
        return sorted(found, key=lambda one: (one.close or inf, one.start), reverse=True)

    def _answer_get_workflow_execution_history(self, request: Any) -> Any:
        return self._run(request).history()

    def _answer_describe_workflow_execution(self, request: Any) -> Any:
        return DescribeWorkflowExecutionResponse(workflow_execution_info=self._run(request).info())

    def _run(self, request: Any) -> Workflow:
        try:
            return self.workflows[request.execution.run_id]
        except KeyError:
            raise RPCError("no such run", RPCStatusCode.NOT_FOUND, b"") from None

    def _answer_list_schedules(self, request: Any) -> Any:
        return ListSchedulesResponse(schedules=[ScheduleListEntry(schedule_id=id) for id in self.schedules])

    def _answer_describe_schedule(self, request: Any) -> Any:
        described = DescribeScheduleResponse()
        described.memo.fields["m"].CopyFrom(self.schedules[request.schedule_id])
        return described

    def _answer_list_activity_executions(self, request: Any) -> Any:
        return ListActivityExecutionsResponse()

    def _answer_list_nexus_operation_executions(self, request: Any) -> Any:
        return ListNexusOperationExecutionsResponse()
