"""What the Temporal server has, read back by a client that knows nothing of encryption."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    QueryWorkflowRequest,
    RegisterNamespaceRequest,
)
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

_T = TypeVar("_T")

SECONDS = 60.0
"""How long to wait for what must happen. Reached only where it does not."""


class Run(NamedTuple):
    """One run of a workflow as the server tells it."""

    history: History
    json: str
    description: DescribeWorkflowExecutionResponse
    listed: bytes

    def text(self) -> bytes:
        """All bytes of it."""
        return b"\0".join(
            [
                *(event.SerializeToString() for event in self.history.events),
                self.json.encode(),
                self.description.SerializeToString(),
                self.listed,
            ]
        )


async def eventually(condition: Callable[[], Awaitable[_T | None]], what: str) -> _T:
    """The first result of ``condition`` that is true, asked again and again."""
    deadline = time.monotonic() + SECONDS
    while not (result := await condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.02)
    return result


async def result_of(handle: WorkflowHandle[Any, _T]) -> _T:
    """What a workflow returns that is about to end.

    The server hands out a task once at most. One that is lost on its way comes again when its time is over, which tests
    let activities have 100 s of.
    """
    try:
        return await asyncio.wait_for(handle.result(), 130)
    except asyncio.TimeoutError:
        here = [repr(task) for task in asyncio.all_tasks() if "_handle_" in repr(task)]
        there = (await handle.describe()).raw_description.pending_activities
        raise AssertionError(f"{handle.id} does not end; activities there: {there}; here: {here}") from None


async def register(plain: Client, namespace: str) -> None:
    """Make a namespace, and wait until it is known."""
    day = Duration(seconds=86_400)
    request = RegisterNamespaceRequest(namespace=namespace, workflow_execution_retention_period=day)
    await plain.workflow_service.register_namespace(request)

    async def known() -> bool | None:
        try:
            await plain.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
        except RPCError:
            return None
        return True

    await eventually(known, "the namespace")


async def runs(plain: Client, prefix: str, expected: int) -> list[Run]:
    """Every run of every workflow whose id starts with ``prefix``, once the server lists as many as expected."""

    async def listed() -> list[Run] | None:
        found = [execution async for execution in plain.list_workflows() if execution.id.startswith(prefix)]
        if len(found) < expected:
            return None
        return [
            await run(plain, execution.id, execution.run_id, execution.raw_info.SerializeToString())
            for execution in found
        ]

    found = await eventually(listed, f"{expected} runs")
    assert len(found) == expected
    return found


async def run(plain: Client, workflow_id: str, run_id: str | None = None, listed: bytes = b"") -> Run:
    handle = plain.get_workflow_handle(workflow_id, run_id=run_id)
    history = await handle.fetch_history()
    return Run(History(events=history.events), history.to_json(), await describe(plain, workflow_id, run_id), listed)


async def events(plain: Client, workflow_id: str) -> list[HistoryEvent]:
    return list((await plain.get_workflow_handle(workflow_id).fetch_history()).events)


async def describe(plain: Client, workflow_id: str, run_id: str | None = None) -> DescribeWorkflowExecutionResponse:
    execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id or "")
    return await plain.workflow_service.describe_workflow_execution(
        DescribeWorkflowExecutionRequest(namespace=plain.namespace, execution=execution)
    )


async def pending_activity(
    plain: Client, workflow_id: str, condition: Callable[[PendingActivityInfo], bool]
) -> PendingActivityInfo:
    """The first pending activity that meets ``condition``, as soon as there is one."""

    async def found() -> PendingActivityInfo | None:
        pending = (await describe(plain, workflow_id)).pending_activities
        return next((one for one in pending if condition(one)), None)

    return await eventually(found, "a pending activity")


async def query_result(plain: Client, workflow_id: str, query: str, *arguments: Payload) -> Payload:
    """What the worker answers, as it travels."""
    request = QueryWorkflowRequest(namespace=plain.namespace, execution=WorkflowExecution(workflow_id=workflow_id))
    request.query.CopyFrom(WorkflowQuery(query_type=query))
    request.query.query_args.payloads.extend(arguments)
    answer = await plain.workflow_service.query_workflow(request)
    (payload,) = answer.query_result.payloads
    return payload
