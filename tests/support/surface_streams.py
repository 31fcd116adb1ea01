"""A workflow that holds a stream across two runs, and whose commands belong to a group with a label."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow
from temporalio.contrib.workflow_streams import WorkflowStream, WorkflowStreamClient, WorkflowStreamState
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from tests.support.surface_marks import mark
    from tests.support.surface_walk import Corner, Walk

_TOPIC = "topic"


@dataclass
class Order:
    secret: str
    public: str
    kept: WorkflowStreamState | None = None


@workflow.defn(name="PoppyStream")
class Stream:
    """Publishes, and hands what it has to a second run, which ends when it is told to."""

    @workflow.init
    def __init__(self, order: Order) -> None:
        self._stream = WorkflowStream(order.kept)
        self._ended = False

    @workflow.run
    async def run(self, order: Order) -> None:
        if order.kept is None:
            group = workflow.create_event_group(
                mark(order.public, "the id of an event group"),
                label=mark(order.secret, "the label of an event group"),
            )
            with group.scope():
                await workflow.sleep(timedelta(milliseconds=1), summary=mark(order.secret, "the summary of a timer"))
            self._stream.topic(_TOPIC, type=str).publish(mark(order.secret, "what a workflow publishes"))
            await workflow.wait_condition(lambda: self._ended)
            self._stream.detach_pollers()
            await workflow.wait_condition(workflow.all_handlers_finished)
            workflow.continue_as_new(Order(order.secret, order.public, self._stream.get_state()))
        await workflow.wait_condition(lambda: self._ended)

    @workflow.signal
    def end(self) -> None:
        self._ended = True


async def _walk(walk: Walk) -> None:
    client, name = walk.client, walk.name
    async with Worker(client, task_queue=name, workflows=[Stream], max_cached_workflows=0):
        order = Order(walk.secret, walk.public)
        handle = await client.start_workflow(Stream.run, order, id=name, task_queue=name)
        stream = WorkflowStreamClient.create(client, name)
        async with stream:
            topic = stream.topic(_TOPIC, type=str)
            topic.publish(walk.hidden("what a client publishes"))
            await stream.flush()
            published = {walk.hidden("what a workflow publishes"), walk.hidden("what a client publishes")}
            assert await _read(stream, 2) == published
            await handle.signal(Stream.end)
            assert await _read(stream, 2) == published
        await client.get_workflow_handle(name).signal(Stream.end)
        await handle.result()
    await walk.keep_runs(2)


async def _read(stream: WorkflowStreamClient, count: int) -> set[str]:
    found: set[str] = set()
    async for item in stream.subscribe([_TOPIC], result_type=str, poll_cooldown=timedelta(0)):
        found.add(item.data)
        if len(found) == count:
            break
    return found


STREAMS = Corner(
    _walk,
    hidden=(
        *("what a workflow publishes", "what a client publishes", "the label of an event group"),
        "the summary of a timer",
    ),
    readable=("the id of an event group",),
    names=("PoppyStream",),
    in_clear=frozenset({"search attribute"}),
)
