"""Reading a namespace for ``storage gc``: what a server may answer that the e2e tests can't make it answer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.api.common.v1 import DataBlob, WorkflowExecution
from temporalio.api.enums.v1 import EncodingType
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsResponse,
    GetWorkflowExecutionHistoryResponse,
    ListActivityExecutionsResponse,
    ListNexusOperationExecutionsResponse,
    ListSchedulesResponse,
    ListWorkflowExecutionsResponse,
)
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.cli.reading.reader import ANY_DIVISION, Reader, Source, SourceKind
from envelope_codec.errors import MalformedEnvelope

ENDED = Source(SourceKind.workflow, "w", "r", True, WorkflowExecutionInfo())
BATCH = History(events=[HistoryEvent(event_id=1), HistoryEvent(event_id=2)])

Call = Callable[..., Coroutine[Any, Any, Any]]


def answer(*pages: Any) -> Call:
    """A call of the server's API that gives ``pages`` one after another, or raises them."""
    left = list(pages)

    async def call(request: Any, **_: Any) -> Any:
        page = left.pop(0)
        if isinstance(page, Exception):
            raise page
        return page

    return call


def reader(**calls: Call) -> Reader:
    client: Any = SimpleNamespace(workflow_service=SimpleNamespace(**calls))
    return Reader(client, "default")


async def histories(*pages: GetWorkflowExecutionHistoryResponse) -> list[Any]:
    read = reader(get_workflow_execution_history=answer(*pages)).messages(ENDED)
    return [message async for message in read][1:]


async def test_all_pages_of_a_history_are_read() -> None:
    first = GetWorkflowExecutionHistoryResponse(history=BATCH, next_page_token=b"more")
    assert await histories(first, GetWorkflowExecutionHistoryResponse(history=BATCH)) == [
        first,
        GetWorkflowExecutionHistoryResponse(history=BATCH),
    ]


async def test_a_raw_history_is_read_too() -> None:
    blob = DataBlob(encoding_type=EncodingType.ENCODING_TYPE_PROTO3, data=BATCH.SerializeToString())
    page = GetWorkflowExecutionHistoryResponse(raw_history=[blob])
    assert await histories(page) == [page, BATCH]


@pytest.mark.parametrize(
    ("blobs", "said"),
    [
        ([], "a history without events"),
        ([DataBlob(encoding_type=EncodingType.ENCODING_TYPE_JSON, data=b"{}")], "in a form that can't be read"),
        ([DataBlob(encoding_type=EncodingType.ENCODING_TYPE_PROTO3, data=b"\xff")], "in a form that can't be read"),
    ],
)
async def test_a_history_that_can_t_be_read_is_an_error(blobs: list[DataBlob], said: str) -> None:
    with pytest.raises(MalformedEnvelope, match=said):
        await histories(GetWorkflowExecutionHistoryResponse(raw_history=blobs))


def lists(**changed: Call) -> dict[str, Call]:
    workflow = WorkflowExecutionInfo(execution=WorkflowExecution(workflow_id="w", run_id="r"), status=2)  # type: ignore[arg-type]
    return {
        "list_schedules": answer(ListSchedulesResponse()),
        "list_activity_executions": answer(ListActivityExecutionsResponse()),
        "list_nexus_operation_executions": answer(ListNexusOperationExecutionsResponse()),
        "list_workflow_executions": answer(ListWorkflowExecutionsResponse(executions=[workflow])),
        **changed,
    }


def refusal(status: RPCStatusCode) -> Call:
    return answer(RPCError("no", status, b""))


async def test_a_server_without_standalone_activities_is_read() -> None:
    old = {
        name: refusal(RPCStatusCode.UNIMPLEMENTED)
        for name in ("list_activity_executions", "list_nexus_operation_executions")
    }
    sources = [source async for source in reader(**lists(**old)).sources()]
    assert [(source.kind, source.id, source.run_id, source.ended) for source in sources] == [
        (SourceKind.workflow, "w", "r", True)
    ]


async def test_the_server_s_own_workflows_are_listed_too() -> None:
    """What a schedule starts, or a batch operation sends, stands in these as well."""
    asked: list[str] = []

    async def listed(request: Any, **_: Any) -> Any:
        asked.append(request.query)
        return ListWorkflowExecutionsResponse()

    assert [source async for source in reader(**lists(list_workflow_executions=listed)).sources()] == []
    assert asked == [ANY_DIVISION]


@pytest.mark.parametrize(("division", "listed"), [(b'"TemporalScheduler"', 1), (b'"1234567"', 0)])
async def test_what_is_listed_among_workflows_and_is_none_is_left_to_its_own_list(division: bytes, listed: int) -> None:
    info = WorkflowExecutionInfo(execution=WorkflowExecution(workflow_id="a", run_id="r"))
    info.search_attributes.indexed_fields["TemporalNamespaceDivision"].data = division
    page = ListWorkflowExecutionsResponse(executions=[info])
    assert len([one async for one in reader(list_workflow_executions=answer(page)).workflows()]) == listed


async def test_they_are_counted_too() -> None:
    asked: list[str] = []

    async def count(request: Any, **_: Any) -> Any:
        asked.append(request.query)
        return CountWorkflowExecutionsResponse(count=7)

    assert await reader(count_workflow_executions=count).count() == 7
    assert asked == [ANY_DIVISION]


@pytest.mark.parametrize(
    ("call", "status"),
    [
        ("list_activity_executions", RPCStatusCode.PERMISSION_DENIED),
        ("list_schedules", RPCStatusCode.UNIMPLEMENTED),
        ("list_workflow_executions", RPCStatusCode.UNIMPLEMENTED),
    ],
)
async def test_a_list_that_can_t_be_had_is_an_error(call: str, status: RPCStatusCode) -> None:
    with pytest.raises(RPCError):
        [source async for source in reader(**lists(**{call: refusal(status)})).sources()]


async def test_a_server_that_does_not_count_is_no_error() -> None:
    assert await reader(count_workflow_executions=refusal(RPCStatusCode.INVALID_ARGUMENT)).count() is None


@pytest.mark.parametrize(("listed", "gone"), [(0, True), (1, False)])
async def test_a_workflow_that_is_still_listed_is_not_gone(listed: int, gone: bool) -> None:
    page = ListWorkflowExecutionsResponse(executions=[WorkflowExecutionInfo()] * listed)
    assert await reader(list_workflow_executions=answer(page)).is_gone(ENDED) is gone
