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
NEXT = History(events=[HistoryEvent(event_id=3), HistoryEvent(event_id=4)])

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
    second = GetWorkflowExecutionHistoryResponse(history=NEXT)
    assert await histories(first, second) == [first, second]


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(BATCH, id="a page twice"),
        pytest.param(History(events=[HistoryEvent(event_id=4)]), id="a page left out"),
        pytest.param(History(events=[HistoryEvent(event_id=3), HistoryEvent(event_id=5)]), id="an event left out"),
    ],
)
async def test_a_history_with_events_missing_is_an_error(second: History) -> None:
    """Whatever stands between client and server, what is not seen must not count as read."""
    first = GetWorkflowExecutionHistoryResponse(history=BATCH, next_page_token=b"more")
    with pytest.raises(MalformedEnvelope, match="events missing"):
        await histories(first, GetWorkflowExecutionHistoryResponse(history=second))


async def test_a_history_that_is_shorter_than_the_list_says_is_an_error() -> None:
    page = GetWorkflowExecutionHistoryResponse(history=BATCH)
    for length, whole in ((0, True), (2, True), (3, False)):
        source = ENDED._replace(listed=WorkflowExecutionInfo(history_length=length))
        messages = reader(get_workflow_execution_history=answer(page)).messages(source)
        if whole:
            assert [message async for message in messages][1:] == [page]
        else:
            with pytest.raises(MalformedEnvelope, match="without its last events"):
                _ = [message async for message in messages]


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


def listed_among_workflows(division: bytes, type: str = "") -> ListWorkflowExecutionsResponse:
    info = WorkflowExecutionInfo(execution=WorkflowExecution(workflow_id="a", run_id="r"))
    info.type.name = type
    info.search_attributes.indexed_fields["TemporalNamespaceDivision"].data = division
    return ListWorkflowExecutionsResponse(executions=[info])


@pytest.mark.parametrize(
    ("division", "type", "kinds"),
    [
        (b'"TemporalScheduler"', "temporal-sys-scheduler-workflow", [SourceKind.workflow]),
        pytest.param(b'"3332429922"', "Mine", [SourceKind.workflow], id="users may choose the division"),
        pytest.param(b'"3332429922"', "", [], id="a standalone activity"),
        pytest.param(b'"403648407"', "", [], id="a schedule"),
        pytest.param(b'"131748067"', "", [], id="a standalone operation"),
        (b'"7"', "", [SourceKind.unknown]),
        (b'"x"', "", [SourceKind.unknown]),
    ],
)
async def test_what_is_listed_among_workflows_is_told_apart(
    division: bytes, type: str, kinds: list[SourceKind]
) -> None:
    page = listed_among_workflows(division, type)
    listed = [one async for one in reader(list_workflow_executions=answer(page)).workflows()]
    assert [one.kind for one in listed] == kinds


async def test_what_no_list_has_can_t_be_read() -> None:
    """Such as activities on a server that has standalone activities turned off by now."""
    calls = lists(
        list_activity_executions=refusal(RPCStatusCode.UNIMPLEMENTED),
        list_workflow_executions=answer(listed_among_workflows(b'"3332429922"')),
    )
    reading = reader(**calls)
    [source] = [source async for source in reading.sources()]
    assert (source.kind, source.id, source.ended) == (SourceKind.unknown, "a", False)
    with pytest.raises(MalformedEnvelope, match="does not know how to read it"):
        _ = [message async for message in reading.messages(source)]


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
