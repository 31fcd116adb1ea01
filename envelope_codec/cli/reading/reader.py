"""What a namespace of a Temporal server holds, message by message, as far as the server's API gives it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from datetime import timedelta
from enum import Enum
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError, Message
from temporalio.api.common.v1 import DataBlob, WorkflowExecution
from temporalio.api.enums.v1 import EncodingType, WorkflowExecutionStatus
from temporalio.api.history.v1 import History
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeActivityExecutionRequest,
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    DescribeNexusOperationExecutionRequest,
    DescribeScheduleRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListActivityExecutionsRequest,
    ListNexusOperationExecutionsRequest,
    ListSchedulesRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.errors import MalformedEnvelope

ANY_DIVISION = "(TemporalNamespaceDivision IS NULL OR TemporalNamespaceDivision IS NOT NULL)"
"""A condition that all workflows meet. With it in a query, the server's own workflows are listed too."""

_DIVISION = "TemporalNamespaceDivision"
_PAGE = 200
_TIMEOUT = timedelta(seconds=60)
_ENDED = frozenset(
    (
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED,
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_FAILED,
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CANCELED,
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TERMINATED,
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW,
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TIMED_OUT,
    )
)
_NOT_THERE = (RPCStatusCode.UNIMPLEMENTED,)
"""What a server answers that has no standalone activities, or has turned them off."""


class SourceKind(str, Enum):
    """What a source of payloads is."""

    workflow = "workflow"
    schedule = "schedule"
    activity = "standalone activity"
    operation = "standalone Nexus operation"
    unknown = "execution of an unknown kind"


_LISTED_AMONG_WORKFLOWS = {
    b"403648407": SourceKind.schedule,
    b"3332429922": SourceKind.activity,
    b"131748067": SourceKind.operation,
}
"""What servers list among workflows, by the number that it has as its division. Some servers keep schedules so."""


class Source(NamedTuple):
    """Something that holds payloads.

    Attributes:
        kind: what it is.
        id: its id.
        run_id: the id of its run; empty for schedules.
        ended: whether it is a workflow that has ended. Nothing in it changes any more.
        listed: its entry in the server's list, which may hold payloads too.
    """

    kind: SourceKind
    id: str
    run_id: str
    ended: bool
    listed: Message


class Reader:
    """Reads one namespace.

    Its methods raise `RPCError` where they may not read something or get no answer, and `MalformedEnvelope` where a
    history has a form that can't be read.

    Args:
        client: a client that is connected to the server.
        namespace: the namespace to read.
        pace: is awaited before each request.
        not_listed: kinds of which another reader knows that `others` does not list them.

    Attributes:
        namespace: the namespace.
        not_listed: kinds that `others` does not list, since the server does not have these lists.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        pace: Callable[[], Awaitable[None]] | None = None,
        not_listed: Iterable[SourceKind] = (),
    ) -> None:
        self.namespace = namespace
        self._pace = pace
        self._service = client.workflow_service
        self.not_listed = set(not_listed)

    async def check(self) -> DescribeNamespaceResponse:
        """Describe the namespace. Raise `RPCError` if there is no such namespace, or no answer."""
        request = DescribeNamespaceRequest(namespace=self.namespace)
        described: DescribeNamespaceResponse = await self._ask(self._service.describe_namespace, request)
        return described

    async def count(self, query: str = ANY_DIVISION) -> int | None:
        """Ask about how many workflows match ``query``: all, unless it is given. None if the server does not tell."""
        request = CountWorkflowExecutionsRequest(namespace=self.namespace, query=query)
        try:
            return int((await self._ask(self._service.count_workflow_executions, request)).count)
        except RPCError:
            return None

    async def first(self, query: str) -> WorkflowExecutionInfo | None:
        """Return the first of the list of workflows that match ``query``. None if there is none."""
        request = ListWorkflowExecutionsRequest(namespace=self.namespace, query=query, page_size=1)
        listed = (await self._ask(self._service.list_workflow_executions, request)).executions
        return listed[0] if listed else None

    async def sources(self) -> AsyncIterator[Source]:
        """List everything that holds payloads. Schedules come first: what they start meanwhile is listed later."""
        async for source in self.others():
            yield source
        async for source in self.workflows():
            yield source

    async def others(self) -> AsyncIterator[Source]:
        """List what holds payloads and is no workflow. Some servers don't have some of it."""
        async for entry in self._list(self._service.list_schedules, ListSchedulesRequest, "schedules"):
            yield Source(SourceKind.schedule, entry.schedule_id, "", False, entry)
        activities = self._list(
            self._service.list_activity_executions,
            ListActivityExecutionsRequest,
            "executions",
            optional=SourceKind.activity,
        )
        async for entry in activities:
            yield Source(SourceKind.activity, entry.activity_id, entry.run_id, False, entry)
        operations = self._list(
            self._service.list_nexus_operation_executions,
            ListNexusOperationExecutionsRequest,
            "operations",
            optional=SourceKind.operation,
        )
        async for entry in operations:
            yield Source(SourceKind.operation, entry.operation_id, entry.run_id, False, entry)

    async def workflows(self, query: str = ANY_DIVISION) -> AsyncIterator[Source]:
        """List the runs of workflows that match ``query``: all, the server's own too, unless it is given.

        A run that changes while pages are turned may come twice. Servers list standalone activities and the like here
        too. They have no history, and `others` lists them. One that it does not list is of an unknown kind.
        """
        token = b""
        while True:
            listed, token = await self.page(query, token)
            for source in listed:
                yield source
            if not token:
                return

    async def page(self, query: str, token: bytes = b"") -> tuple[list[Source], bytes]:
        """List a page of what `workflows` lists, and return the token of the next one; empty after the last page."""
        request = ListWorkflowExecutionsRequest(
            namespace=self.namespace, query=query, page_size=_PAGE, next_page_token=token
        )
        page = await self._ask(self._service.list_workflow_executions, request)
        return list(filter(None, map(self._source_of, page.executions))), _next(page, token)

    def _source_of(self, entry: WorkflowExecutionInfo) -> Source | None:
        """Make a source of what is listed among workflows. None: `others` lists it."""
        kind = _kind_of(entry)
        if kind not in (SourceKind.workflow, SourceKind.unknown) and kind not in self.not_listed:
            return None
        kind = kind if kind is SourceKind.workflow else SourceKind.unknown
        ended = kind is SourceKind.workflow and entry.status in _ENDED
        return Source(kind, entry.execution.workflow_id, entry.execution.run_id, ended, entry)

    async def messages(self, source: Source) -> AsyncIterator[Message]:
        """Read everything that ``source`` holds. What is pending is read before the history, into which it may move."""
        yield source.listed
        if source.kind is SourceKind.unknown:
            raise MalformedEnvelope("this release does not know how to read it, or the server does not list its kind")
        if source.kind is SourceKind.schedule:
            yield await self._ask(
                self._service.describe_schedule,
                DescribeScheduleRequest(namespace=self.namespace, schedule_id=source.id),
            )
        elif source.kind is SourceKind.activity:
            yield await self._ask(
                self._service.describe_activity_execution,
                DescribeActivityExecutionRequest(
                    namespace=self.namespace,
                    activity_id=source.id,
                    run_id=source.run_id,
                    include_input=True,
                    include_outcome=True,
                    include_heartbeat_details=True,
                    include_last_failure=True,
                ),
            )
        elif source.kind is SourceKind.operation:
            yield await self._ask(
                self._service.describe_nexus_operation_execution,
                DescribeNexusOperationExecutionRequest(
                    namespace=self.namespace,
                    operation_id=source.id,
                    run_id=source.run_id,
                    include_input=True,
                    include_outcome=True,
                ),
            )
        else:
            async for message in self._read_workflow(source):
                yield message

    async def is_gone(self, source: Source) -> bool:
        """Whether ``source``, which the server did not find, is no longer listed either."""
        if source.kind is not SourceKind.workflow:
            return True
        request = ListWorkflowExecutionsRequest(
            namespace=self.namespace, query=f"RunId = '{source.run_id}' AND {ANY_DIVISION}", page_size=1
        )
        return not (await self._ask(self._service.list_workflow_executions, request)).executions

    async def _read_workflow(self, source: Source) -> AsyncIterator[Message]:
        execution = WorkflowExecution(workflow_id=source.id, run_id=source.run_id)
        if not source.ended:
            request = DescribeWorkflowExecutionRequest(namespace=self.namespace, execution=execution)
            yield await self._ask(self._service.describe_workflow_execution, request)
        token, events = b"", 0
        while True:
            page = await self._ask(
                self._service.get_workflow_execution_history,
                GetWorkflowExecutionHistoryRequest(
                    namespace=self.namespace, execution=execution, next_page_token=token
                ),
            )
            yield page
            events = _go_on(events, page.history)
            for blob in page.raw_history:  # some servers are set up to send this instead
                batch = _parse(blob)
                yield batch
                events = _go_on(events, batch)
            token = _next(page, token)
            if not token:
                break
        if not events:
            raise MalformedEnvelope("the server gave a history without events")
        if source.ended and events < _expected(source):
            raise MalformedEnvelope("the server gave a history without its last events")

    async def _list(
        self,
        call: Callable[..., Any],
        request_type: type[Any],
        field: str,
        *,
        optional: SourceKind | None = None,
        **more: Any,
    ) -> AsyncIterator[Any]:
        token = b""
        while True:
            size: Any = {"maximum_page_size" if request_type is ListSchedulesRequest else "page_size": _PAGE}
            request = request_type(namespace=self.namespace, next_page_token=token, **size, **more)
            try:
                page = await self._ask(call, request)
            except RPCError as error:
                if optional is not None and error.status in _NOT_THERE:
                    self.not_listed.add(optional)
                    return
                raise
            for entry in getattr(page, field):
                yield entry
            token = _next(page, token)
            if not token:
                return

    async def _ask(self, call: Callable[..., Coroutine[Any, Any, Any]], request: Message) -> Any:
        if self._pace is not None:
            await self._pace()
        return await call(request, retry=True, timeout=_TIMEOUT)


def _next(page: Any, token: bytes) -> bytes:
    """Return the token of the page after ``page``, which ``token`` led to.

    Raises:
        RPCError: it leads to the same page again. Without end, nothing would ever be known.
    """
    following: bytes = page.next_page_token
    if following and following == token:
        raise RPCError("the server gives the same page again and again", RPCStatusCode.DATA_LOSS, b"")
    return following


def _kind_of(entry: WorkflowExecutionInfo) -> SourceKind:
    """Tell what the server lists among workflows. All workflows have a type, and may have any division."""
    if entry.type.name:
        return SourceKind.workflow
    division = entry.search_attributes.indexed_fields.get(_DIVISION)
    if division is None:
        return SourceKind.workflow
    return _LISTED_AMONG_WORKFLOWS.get(division.data.strip(b'"'), SourceKind.unknown)


def _go_on(events: int, batch: History) -> int:
    """Return how many events there are with those of ``batch``.

    Raises:
        MalformedEnvelope: there are events missing before it.
    """
    if not batch.events:
        return events
    if batch.events[0].event_id != events + 1 or batch.events[-1].event_id != events + len(batch.events):
        raise MalformedEnvelope("the server gave a history with events missing")
    return events + len(batch.events)


def _expected(source: Source) -> int:
    """Return how many events the history of a workflow that has ended has, as the list says. 0 where it does not."""
    listed: Any = source.listed
    return int(listed.history_length)


def _parse(blob: DataBlob) -> History:
    try:
        if blob.encoding_type != EncodingType.ENCODING_TYPE_PROTO3:
            raise DecodeError
        return History.FromString(blob.data)
    except DecodeError:
        raise MalformedEnvelope("the server gave a history in a form that can't be read") from None
