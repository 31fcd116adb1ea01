"""What replays and queries leave in a store: nothing. What Temporal keeps is stored, all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from envelope_codec.temporal.codec import is_envelope
from envelope_codec.testing import FakeKms
from tests.e2e.test_storage import assert_sealed_reference, kept_in
from tests.e2e.test_workflows import user_payloads
from tests.support.harness_stores import Stores
from tests.support.repeating_workflows import Changed, Station, Waiting, echo
from tests.support.server_records import eventually, result_of
from tests.support.small_workflows import Hello, Listen

WORKERS: dict[str, dict[str, Any]] = {
    "sandboxed": {},
    "unsandboxed": {"workflow_runner": UnsandboxedWorkflowRunner()},
    "debug mode": {"debug_mode": True},
    "no cache": {"max_cached_workflows": 0},
}


class Line:
    """Workers of one task queue, one after another, and the store of what they seal."""

    def __init__(self, connect: Any, plain: Client, name: str, url: str, **settings: Any) -> None:
        self.name = name
        self.url = url
        self._connect = connect
        self._plain = plain
        self._settings = {"storage": url, "storage_threshold": 0, "startup_jitter": 0, **settings}
        self._kms = FakeKms()

    @asynccontextmanager
    async def worker(self, **options: Any) -> AsyncIterator[Client]:
        """A worker that has no workflow at hand yet, and its client."""
        client, _ = await self._connect(self._kms, **self._settings)
        given = {"workflows": [Station, Hello, Listen], "activities": [echo], **options}
        async with Worker(client, task_queue=self.name, **given):
            yield client

    async def kept(self) -> int:
        return len(await kept_in(self.url))

    async def at_rest(self, activities: int) -> None:
        """Wait until the last run of `Station` has had so many activities done, and waits.

        A query would do something: the SDK's core answers it while a local activity runs. Without a cache that is run
        again then.
        """
        handle = self._plain.get_workflow_handle(self.name)

        async def waits() -> bool:
            types = [event.event_type for event in (await handle.fetch_history()).events]
            done = types.count(EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
            return (done, types[-1]) == (activities, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)

        await eventually(waits, "a workflow that waits")

    async def histories(self) -> list[list[HistoryEvent]]:
        """Of all runs of all workflows of this test."""
        found = []
        async for one in self._plain.list_workflows(f'TaskQueue="{self.name}"'):
            handle = self._plain.get_workflow_handle(one.id, run_id=one.run_id)
            found.append(list((await handle.fetch_history()).events))
        return found

    async def payloads(self, runs: int) -> list[Payload]:
        """What Temporal has of the user's, each once."""

        async def listed() -> list[list[HistoryEvent]] | None:
            histories = await self.histories()
            return histories if len(histories) == runs else None

        histories = await eventually(listed, f"{runs} runs in the list")
        payloads = [payload for events in histories for event in events for payload in handed_over(event)]
        return list({payload.data: payload for payload in payloads}.values())

    async def all_stored(self, runs: int) -> int:
        """How many payloads Temporal refers to. Each is in the store, and Temporal has none of them itself."""
        payloads = await self.payloads(runs)
        client, _ = await self._connect(self._kms, **self._settings)
        for payload in payloads:
            assert_sealed_reference(payload, "envelope-sqlite")
            [fetched] = await client.data_converter._external_retrieve_payload_sequence([payload])
            assert is_envelope(fetched)
        return len(payloads)


def handed_over(event: HistoryEvent) -> list[Payload]:
    """The user's payloads of an event. The SDK's core notes in clear which patches there are."""
    patch = event.marker_recorded_event_attributes.marker_name == "core_patch"
    return [] if patch else [payload for payload in user_payloads(event) if "type" not in payload.metadata]


@pytest.fixture
async def line(connect: Any, plain: Client, stores: Stores, name: str) -> Line:
    return Line(connect, plain, name, await stores["sqlite"].place())


def station(client: Client, name: str) -> WorkflowHandle[Station, list[str]]:
    return client.get_workflow_handle(name, result_type=list[str])


async def until_seen(client: Client, name: str, last: str) -> None:
    """Wait until `Station` has done what comes last."""
    handle = station(client, name)

    async def there() -> bool:
        return (await handle.query(Station.seen))[-1:] == [last]

    await eventually(there, last)


@pytest.mark.parametrize("kind", WORKERS)
async def test_each_worker_stores_what_is_new_and_nothing_else(kind: str, line: Line, name: str) -> None:
    options = WORKERS[kind]
    listener = f"{name} listener"
    async with line.worker(**options) as client:
        listening = await client.start_workflow(Listen.run, id=listener, task_queue=name)
        await client.start_workflow(Station.run, args=["text", listener], id=name, task_queue=name)
        await line.at_rest(4)
        assert await result_of(listening) == "text"
    kept = await line.kept()
    assert kept == await line.all_stored(3)

    for _ in range(3):  # restarts and queries
        async with line.worker(**options) as client:
            await until_seen(client, name, "text patched")
            await client.get_workflow_handle(listener).query("__stack_trace")
    assert await line.kept() == kept

    async with line.worker(**options) as client:  # a history that is part replay and part new
        handle = station(client, name)
        await handle.signal(Station.order, "new")
        await until_seen(client, name, "new")
    assert await line.kept() == kept + 3 == await line.all_stored(3)

    async with line.worker(**options) as client:
        handle = station(client, name)
        assert await handle.execute_update(Station.change, "changed") == "changed"
        assert await line.kept() == kept + 7, "input and result, of an activity and of the update"
        await handle.signal(Station.order, "next")
        await line.at_rest(4)
    kept = await line.kept()
    assert kept == await line.all_stored(5)

    async with line.worker(**options) as client:
        handle = station(client, name)
        await handle.signal(Station.order, "end")
        assert (await result_of(handle))[-1] == "text again patched"
    assert await line.kept() == kept + 2

    for _ in range(2):  # it has ended: a replay ends it again
        async with line.worker(**options) as client:
            await until_seen(client, name, "text again patched")
    assert await line.kept() == kept + 2 == await line.all_stored(5)


async def test_a_failure_that_is_replayed_is_not_stored_again(line: Line, name: str) -> None:
    async with line.worker() as client:
        handle = await client.start_workflow(Station.run, args=["text", ""], id=name, task_queue=name)
        await handle.signal(Station.order, "fail")
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    kept = await line.kept()
    for _ in range(2):
        async with line.worker() as client:
            await until_seen(client, name, "text patched")
    assert await line.kept() == kept == await line.all_stored(2)


async def test_a_workflow_that_was_reset_stores_what_it_does_anew(line: Line, plain: Client, name: str) -> None:
    async with line.worker() as client:
        await client.start_workflow(Station.run, args=["text", ""], id=name, task_queue=name)
        await until_seen(client, name, "text patched")
    async with line.worker() as client:
        handle = station(client, name)
        await handle.signal(Station.order, "new")
        await until_seen(client, name, "new")
    events = (await plain.get_workflow_handle(name).fetch_history()).events
    tasks = [event.event_id for event in events if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
    for back_to in (tasks[-1], tasks[1], tasks[0]):
        run = (await plain.get_workflow_handle(name).describe()).run_id
        await plain.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace="default",
                workflow_execution=WorkflowExecution(workflow_id=name, run_id=run),
                workflow_task_finish_event_id=back_to,
                request_id=f"{name} {back_to}",
            )
        )
        async with line.worker() as client:
            await until_seen(client, name, "new")
    async with line.worker() as client:
        handle = station(client, name)
        await handle.signal(Station.order, "end")
        assert "text patched" in await result_of(handle)
    payloads = [payload for events in await line.histories() for event in events for payload in handed_over(event)]
    for payload in payloads:
        assert_sealed_reference(payload, "envelope-sqlite")


@pytest.mark.parametrize(
    ("settings", "stored"),
    [({}, 1), ({"storage_query_threshold": 0}, 2), ({"storage_query_threshold": "2MB"}, 0)],
)
async def test_answers_to_queries_are_stored_from_their_size_on(
    settings: Any, stored: int, connect: Any, plain: Client, stores: Stores, name: str
) -> None:
    line = Line(connect, plain, name, await stores["file"].place(), **settings)
    async with line.worker() as client:
        handle = await client.start_workflow(Station.run, args=["text", ""], id=name, task_queue=name)
        await until_seen(client, name, "text patched")
        kept = await line.kept()
        for size in (1_000, 1_000_000):
            assert await handle.query(Station.large, size) == "x" * size
        # the arguments of both are the client's to store
        assert await line.kept() == kept + 2 + stored


@pytest.mark.parametrize(("memory", "spared"), [("60kB", True), ("6kB", False)])
async def test_what_replays_hold_is_given_up_with_their_workflow(
    memory: str, spared: bool, connect: Any, plain: Client, stores: Stores, name: str
) -> None:
    """Without a cache, that is after each task: then the next replay has all the memory again."""
    line = Line(connect, plain, name, await stores["file"].place(), storage_replay_memory=memory)
    async with line.worker(max_cached_workflows=0) as client:
        await client.start_workflow(Station.run, args=["text" * 500, ""], id=name, task_queue=name)
        await line.at_rest(4)
        counted = []
        for _ in range(6):  # some 20 kB each
            await until_seen(client, name, "text" * 500 + " patched")
            counted.append(await line.kept())
    assert (len(set(counted)) == 1) is spared
    assert counted == sorted(counted)


async def test_what_a_changed_workflow_sends_out_of_a_replay_is_sealed_and_whole(line: Line, name: str) -> None:
    """Against Temporal's rules. The SDK's core does not notice, and sends a command that a replay handed over."""
    async with line.worker(workflows=[Waiting]) as client:
        handle = await client.start_workflow(Waiting.run, 10_000, id=name, task_queue=name)
        await eventually(lambda: has_waited(client, name), "a workflow that waits")
    kept = await line.kept()
    async with line.worker(workflows=[Changed]) as client:
        await handle.signal(Waiting.tell)
        assert await asyncio.wait_for(client.get_workflow_handle(name).result(), 60) == 10_000
    [events] = await line.histories()
    [scheduled] = [
        event.activity_task_scheduled_event_attributes
        for event in events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    assert is_envelope(scheduled.input.payloads[0])
    assert await line.kept() == kept + 2, "the results of activity and workflow"


async def has_waited(client: Client, name: str) -> bool:
    events = (await client.get_workflow_handle(name).fetch_history()).events
    return any(event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED for event in events)
