"""Runs of a workflow that follow one another: after a reset, and after a failure; and a workflow task that fails."""

from __future__ import annotations

import uuid
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from tests.support.server_records import events, eventually
    from tests.support.surface_marks import HAVE_FAILED, mark
    from tests.support.surface_walk import Corner, Walk


class _Counting:
    def __init__(self) -> None:
        self.runs = 0

    @activity.defn
    async def count(self, secret: str, text: str) -> list[str]:
        self.runs += 1
        return [text, mark(secret, f"the activity of run {self.runs}")]


@workflow.defn(name="PoppyReset")
class Reset:
    def __init__(self) -> None:
        self._heard: list[str] = []
        self._ended = False

    @workflow.run
    async def run(self, secret: str, text: str) -> list[str]:
        counted = await workflow.execute_activity_method(
            _Counting.count,
            args=[secret, mark(secret, "the input of an activity before a reset")],
            start_to_close_timeout=timedelta(seconds=60),
        )
        await workflow.wait_condition(lambda: self._ended)
        return [text, *counted, *self._heard]

    @workflow.signal
    def tell(self, text: str) -> None:
        self._heard.append(text)

    @workflow.signal
    def end(self) -> None:
        self._ended = True


@workflow.defn(name="PoppyRetried")
class Retried:
    """Its first task fails, then its first run."""

    @workflow.run
    async def run(self, secret: str, text: str) -> list[str]:
        own = workflow.info()
        if own.workflow_id not in HAVE_FAILED:
            HAVE_FAILED.add(own.workflow_id)
            raise RuntimeError(mark(secret, "the failure of a workflow task"))
        if own.attempt == 1:
            raise ApplicationError(mark(secret, "the failure of a run that is tried again"))
        return [text, str(workflow.get_last_failure())]


async def _walk(walk: Walk) -> None:
    client, name, counting = walk.client, walk.name, _Counting()
    async with Worker(
        client, task_queue=name, workflows=[Reset, Retried], activities=[counting.count], max_cached_workflows=0
    ):
        await _reset(walk)
        assert await client.execute_workflow(
            Retried.run,
            args=[walk.secret, walk.hidden("the input of a run that is tried again")],
            id=f"{name} retried",
            task_queue=name,
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
        ) == [
            walk.hidden("the input of a run that is tried again"),
            walk.hidden("the failure of a run that is tried again"),
        ]
    await walk.keep_runs(4)


async def _reset(walk: Walk) -> None:
    handle = await walk.client.start_workflow(
        Reset.run,
        args=[walk.secret, walk.hidden("the input of a workflow that is reset")],
        id=walk.name,
        task_queue=walk.name,
    )

    async def counted() -> bool:
        done = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
        return any(event.event_type == done for event in await events(walk.plain, walk.name))

    await eventually(counted, "the activity")
    await handle.signal(Reset.tell, walk.hidden("a signal before a reset"))
    first_task_completed = next(
        event.event_id
        for event in await events(walk.plain, walk.name)
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    )
    await walk.plain.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=walk.plain.namespace,
            workflow_execution=WorkflowExecution(workflow_id=walk.name),
            reason=walk.readable("a reason to reset"),
            workflow_task_finish_event_id=first_task_completed,
            request_id=str(uuid.uuid4()),
        )
    )
    again = walk.client.get_workflow_handle(walk.name, result_type=list[str])
    await again.signal(Reset.end)
    assert await again.result() == [
        walk.hidden("the input of a workflow that is reset"),
        walk.hidden("the input of an activity before a reset"),
        walk.hidden("the activity of run 2"),
        walk.hidden("a signal before a reset"),
    ]


RUNS = Corner(
    _walk,
    hidden=(
        *("the input of a workflow that is reset", "the input of an activity before a reset"),
        *("the activity of run 1", "the activity of run 2", "a signal before a reset"),
        *("the input of a run that is tried again", "the failure of a run that is tried again"),
        "the failure of a workflow task",
    ),
    readable=("a reason to reset",),
    names=("PoppyReset", "PoppyRetried"),
    in_clear=frozenset({"search attribute"}),
)
