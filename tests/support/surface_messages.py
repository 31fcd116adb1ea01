"""Workflows that talk to each other and to clients in every way, with memos, search attributes and descriptions."""

from __future__ import annotations

from temporalio import workflow
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WithStartWorkflowOperation, WorkflowFailureError, WorkflowHandle
from temporalio.common import (
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
)
from temporalio.exceptions import ApplicationError, CancelledError, TerminatedError
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    import pytest

    from tests.support.server_records import eventually, query_result
    from tests.support.surface_header import NAME as HEADER_NAME
    from tests.support.surface_header import received, started_with
    from tests.support.surface_marks import mark
    from tests.support.surface_walk import ATTRIBUTE, Corner, Walk, define_attribute


@workflow.defn(name="PoppyReceiver")
class Receiver:
    """Returns what it was started with and told, with the headers of it, once it is told to end."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.ended = False

    @workflow.run
    async def run(self, text: str) -> list[str]:
        self.told[:0] = [text, started_with()]  # a signal or an update may come first
        await workflow.wait_condition(lambda: self.ended)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.told

    @workflow.signal(name="PoppySignal")
    async def tell(self, text: str) -> None:
        self.told += [text, received()]

    @workflow.signal
    def end(self) -> None:
        self.ended = True

    @workflow.query(name="PoppyQuery")
    def ask(self, text: str) -> list[str]:
        return [text, *self.told]

    @workflow.update(name="PoppyUpdate")
    async def change(self, text: str) -> str:
        self.told += [text, received()]
        return text.replace("input", "result")


@workflow.defn(name="PoppySender")
class Sender:
    """Starts and tells others, then fails."""

    @workflow.run
    async def run(self, secret: str, public: str) -> None:
        own = workflow.info()
        workflow.set_current_details(mark(secret, "current details"))
        workflow.upsert_search_attributes([ATTRIBUTE.value_set(mark(public, "an upserted search attribute"))])
        patched = workflow.patched("poppy-patch")
        other = await workflow.signal_with_start_workflow(
            Receiver.run,
            mark(secret, "the input of a system Nexus operation"),
            id=f"{own.workflow_id} by Nexus",
            task_queue=own.task_queue,
            signal=Receiver.tell,
            signal_args=mark(secret, "the signal of a system Nexus operation"),
            memo={"poppy-memo-of-nexus": mark(secret, "the memo of a system Nexus operation")},
            static_summary=mark(secret, "the summary of a system Nexus operation"),
            static_details=mark(secret, "the details of a system Nexus operation"),
            search_attributes=TypedSearchAttributes(
                [SearchAttributePair(ATTRIBUTE, mark(public, "a search attribute of a system Nexus operation"))]
            ),
        )
        await other.signal(Receiver.tell, mark(secret, "an external signal"))
        await other.signal(Receiver.end)
        child = await workflow.start_child_workflow(
            Receiver.run,
            mark(secret, "a child's input"),
            id=f"{own.workflow_id} child",
            memo={"poppy-memo-of-child": mark(secret, "a child's memo")},
            static_summary=mark(secret, "a child's summary"),
            static_details=mark(secret, "a child's details"),
            search_attributes=TypedSearchAttributes(
                [SearchAttributePair(ATTRIBUTE, mark(public, "a child's search attribute"))]
            ),
        )
        await child.signal(Receiver.end)
        heard = await child
        await workflow.get_external_workflow_handle(f"{own.workflow_id} cancelled").cancel(
            reason=mark(public, "a reason of a workflow to cancel another")
        )
        raise ApplicationError(
            mark(secret, "a message of a failure"), *heard, patched, type=mark(public, "an error's type")
        )


async def _walk(walk: Walk) -> None:
    client, name = walk.client, walk.name
    await define_attribute(walk.plain)
    async with Worker(
        client,
        task_queue=name,
        workflows=[Receiver, Sender],
        max_cached_workflows=0,
        identity=walk.readable("a worker's identity"),
    ):
        await _update_with_start(walk)
        await _send(walk)
        await _end(walk)
    await walk.keep_runs(7)


async def _update_with_start(walk: Walk) -> None:
    client, name = walk.client, walk.name
    start = WithStartWorkflowOperation(
        Receiver.run,
        walk.hidden("a start with an update"),
        id=f"{name} updated",
        task_queue=name,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        memo={"poppy-memo": walk.hidden("a memo")},
        static_summary=walk.hidden("a summary"),
        static_details=walk.hidden("details"),
        search_attributes=TypedSearchAttributes([SearchAttributePair(ATTRIBUTE, walk.readable("a search attribute"))]),
    )
    result: object = await client.execute_update_with_start_workflow(
        Receiver.change,
        walk.hidden("the input of an update with a start"),
        start_workflow_operation=start,
        id=walk.readable("an update's id"),
    )
    assert result == walk.hidden("the result of an update with a start")
    handle = await start.workflow_handle()
    await handle.signal(Receiver.end)
    told = [
        walk.hidden("a start with an update"),
        walk.hidden("the header of a start with an update"),
        walk.hidden("the input of an update with a start"),
        walk.hidden("the header of an update with a start"),
    ]
    assert await handle.result() == told

    # The workflow is closed, and forgotten by its worker: it is replayed for the query.
    asked = walk.hidden("a query of a closed workflow")
    assert await handle.query(Receiver.ask, asked) == [asked, *told]
    (argument,) = await client.data_converter.encode([asked])
    walk.told += [argument, await query_result(walk.plain, handle.id, "PoppyQuery", argument)]

    description = await handle.describe()
    assert await description.memo() == {"poppy-memo": walk.hidden("a memo")}
    assert await description.static_summary() == walk.hidden("a summary")
    assert await description.static_details() == walk.hidden("details")
    assert description.typed_search_attributes[ATTRIBUTE] == walk.readable("a search attribute")

    async def listed() -> bool | None:
        query = f"{ATTRIBUTE.name} = '{walk.readable('a search attribute')}'"
        found = [execution async for execution in client.list_workflows(query)]
        return [(one.id, await one.memo()) for one in found] == [(handle.id, await description.memo())] or None

    await eventually(listed, "the workflow in the list")


async def _send(walk: Walk) -> None:
    client, name = walk.client, walk.name
    cancelled = await client.start_workflow(Receiver.run, "for ever", id=f"{name} cancelled", task_queue=name)
    handle = await client.start_workflow(Sender.run, args=[walk.secret, walk.public], id=walk.name, task_queue=name)
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    error = failed.value.cause
    assert isinstance(error, ApplicationError)
    assert error.message == walk.hidden("a message of a failure")
    assert error.type == walk.readable("an error's type")
    with pytest.raises(WorkflowFailureError) as failed:
        await cancelled.result()
    assert isinstance(failed.value.cause, CancelledError)
    assert list(error.details) == [walk.hidden("a child's input"), "", True]
    description = await client.get_workflow_handle(f"{name} child").describe()
    assert await description.memo() == {"poppy-memo-of-child": walk.hidden("a child's memo")}
    assert await description.static_summary() == walk.hidden("a child's summary")
    assert await description.static_details() == walk.hidden("a child's details")

    other: WorkflowHandle[Receiver, list[str]] = client.get_workflow_handle_for(Receiver.run, f"{name} by Nexus")
    assert await other.result() == [
        walk.hidden("the input of a system Nexus operation"),
        walk.hidden("the header of a system Nexus operation"),
        walk.hidden("the signal of a system Nexus operation"),
        walk.hidden("the header of a system Nexus operation"),
        walk.hidden("an external signal"),
        walk.hidden("the header of an external signal"),
    ]
    description = await other.describe()
    assert await description.memo() == {"poppy-memo-of-nexus": walk.hidden("the memo of a system Nexus operation")}
    assert await description.static_summary() == walk.hidden("the summary of a system Nexus operation")
    assert await description.static_details() == walk.hidden("the details of a system Nexus operation")

    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert metadata.current_details == walk.hidden("current details")
    walk.told.append(await query_result(walk.plain, handle.id, "__temporal_workflow_metadata"))


async def _end(walk: Walk) -> None:
    """Reasons, and whatever else of a workflow Temporal may read."""
    client, name = walk.client, walk.name
    cancelled = await client.start_workflow(
        Receiver.run,
        "for ever",
        id=f"{name} {walk.readable('an id')}",
        task_queue=name,
        priority=Priority(fairness_key=walk.readable("a fairness key")),
    )
    await cancelled.cancel(reason=walk.readable("a reason to cancel"))
    with pytest.raises(WorkflowFailureError) as failed:
        await cancelled.result()
    assert isinstance(failed.value.cause, CancelledError)
    terminated = await client.start_workflow(Receiver.run, "for ever", id=f"{name} terminated", task_queue=name)
    await terminated.terminate(walk.hidden("a termination's details"), reason=walk.readable("a reason to terminate"))
    with pytest.raises(WorkflowFailureError) as failed:
        await terminated.result()
    assert isinstance(failed.value.cause, TerminatedError)
    assert list(failed.value.cause.details) == [walk.hidden("a termination's details")]


MESSAGES = Corner(
    _walk,
    hidden=(
        *("a start with an update", "the header of a start with an update", "a memo", "a summary", "details"),
        *("the input of an update with a start", "the result of an update with a start"),
        *("the header of an update with a start", "a query of a closed workflow"),
        *("the input of a system Nexus operation", "the header of a system Nexus operation"),
        *("the signal of a system Nexus operation", "the memo of a system Nexus operation"),
        *("the summary of a system Nexus operation", "the details of a system Nexus operation"),
        *("an external signal", "the header of an external signal", "current details", "a message of a failure"),
        *("a child's input", "a child's memo", "a child's summary", "a child's details", "a termination's details"),
    ),
    readable=(
        *("a search attribute", "an upserted search attribute", "a child's search attribute"),
        *("a search attribute of a system Nexus operation", "an error's type", "an id", "an update's id"),
        *("a reason to cancel", "a reason of a workflow to cancel another", "a reason to terminate"),
        *("a worker's identity", "a fairness key"),
    ),
    names=(
        *("PoppyReceiver", "PoppySender", "PoppySignal", "PoppyUpdate", "poppyAttribute", "poppy-patch"),
        *("poppy-memo", "poppy-memo-of-child", "poppy-memo-of-nexus", HEADER_NAME),
    ),
    in_clear=frozenset(
        {
            *("search attribute", "core_patch patch-data"),
            *("SignalWithStartWorkflowExecutionRequest", "SignalWithStartWorkflowExecutionResponse"),
        }
    ),
)
