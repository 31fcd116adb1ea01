"""Workflows that go on for as long as somebody writes letters to them, and those who write."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import cycle
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

with workflow.unsafe.imports_passed_through():
    from temporalio.api.enums.v1 import EventType
    from temporalio.api.failure.v1 import Failure
    from temporalio.api.history.v1 import HistoryEvent

    from envelope_codec.envelope import Record, parse
    from envelope_codec.temporal.payload_walk import payloads_in
    from tests.support.server_records import events, eventually

PATIENT = timedelta(seconds=100)
IMPATIENT: dict[str, Any] = {"timeout": 5, "activity_timeout": 5}
"""Settings with which whatever waits for a key fails before the workflow task times out, which has 10 seconds."""
SOON = timedelta(seconds=2)
"""A failed workflow task is handed out again after so long."""
_AGAIN = RetryPolicy(initial_interval=timedelta(milliseconds=100), backoff_coefficient=1)


@workflow.defn
class Post:
    """Has each letter stamped by an activity and carried by a child."""

    def __init__(self) -> None:
        self._letters: list[str] = []
        self._delivered: list[str] = []
        self._enough = False

    @workflow.run
    async def run(self, letter: str) -> list[str]:
        self._letters.append(letter)
        while True:
            await workflow.wait_condition(lambda: bool(self._letters) or self._enough)
            if not self._letters:
                return self._delivered
            stamped = await workflow.execute_activity_method(
                Office.stamp, self._letters.pop(0), start_to_close_timeout=PATIENT, retry_policy=_AGAIN
            )
            number = len(self._delivered)
            self._delivered.append(
                await workflow.execute_child_workflow(Carry.run, stamped, id=f"{workflow.info().workflow_id} {number}")
            )

    @workflow.signal
    def write(self, letter: str) -> None:
        self._letters.append(letter)

    @workflow.signal
    def close(self) -> None:
        self._enough = True

    @workflow.query
    def delivered(self, greeting: str) -> list[str]:
        return [greeting, *self._delivered]


@workflow.defn
class Carry:
    @workflow.run
    async def run(self, letter: str) -> str:
        return f"{letter} carried"


@workflow.defn(sandboxed=False)
class Once:
    """Gives an activity one attempt."""

    @workflow.run
    async def run(self, activity_name: str, task_queue: str, argument: str) -> str:
        result: str = await workflow.execute_activity(
            activity_name,
            argument,
            task_queue=task_queue,
            result_type=str,
            start_to_close_timeout=PATIENT,
            retry_policy=RetryPolicy(maximum_attempts=1),
        )
        return result


class Office:
    """The activity.

    Attributes:
        stamped: how often its code ran, by letter.
    """

    def __init__(self) -> None:
        self.stamped: Counter[str] = Counter()

    @activity.defn
    async def stamp(self, letter: str) -> str:
        self.stamped[letter] += 1
        return f"{letter} stamped"

    def worker(self, client: Client, task_queue: str, identity: str) -> Worker:
        return Worker(
            client,
            task_queue=task_queue,
            workflows=[Post, Carry],
            activities=[self.stamp],
            workflow_runner=UnsandboxedWorkflowRunner(),
            identity=identity,
        )


class Letters:
    """Letters to some workflows, written by any of the clients in turn.

    Attributes:
        ids: of the workflows.
        written: to each of them.
    """

    def __init__(
        self,
        name: str,
        clients: Iterable[Client],
        workflows: int,
        *,
        task_queue: str | None = None,
        task_timeout: timedelta | None = None,
    ) -> None:
        self.ids = [f"{name} post {number}" for number in range(workflows)]
        self.written: dict[str, list[str]] = {workflow_id: [] for workflow_id in self.ids}
        self._task_queue = task_queue or name
        self._task_timeout = task_timeout
        self._clients: Iterator[Client] = cycle(clients)

    @property
    def all_ids(self) -> list[str]:
        """Of those that have been started, and of their children."""
        return [
            one
            for workflow_id, letters in self.written.items()
            for one in (workflow_id, *(f"{workflow_id} {number}" for number in range(len(letters))))
            if letters
        ]

    def written_by(self, *clients: Client) -> None:
        """Others write from now on."""
        self._clients = cycle(clients)

    async def write(self) -> None:
        """One letter to each."""
        await asyncio.gather(*map(self._write, self.ids))

    async def write_until(self, enough: asyncio.Event) -> None:
        """Letter after letter, each when the one before has arrived."""
        while not enough.is_set():
            await self.write()
            await self.arrived()

    async def more(self, count: int) -> None:
        """Wait until somebody has written so many more to each."""
        wanted = min(map(len, self.written.values())) + count

        async def written() -> bool:
            return min(map(len, self.written.values())) >= wanted

        await eventually(written, "more letters")

    async def arrived(self) -> None:
        """Wait until every letter has."""
        await asyncio.gather(*map(self._arrived, self.ids))

    async def end(self) -> None:
        """Wait for the workflows' ends. Each has seen every letter."""
        for workflow_id in self.ids:
            await self._handle(workflow_id).signal(Post.close)
        for workflow_id in self.ids:
            result = await asyncio.wait_for(self._handle(workflow_id).result(), 100)
            assert result == self.delivered(workflow_id)

    def delivered(self, workflow_id: str) -> list[str]:
        """What a workflow returns."""
        return [f"{letter} stamped carried" for letter in self.written[workflow_id]]

    async def _write(self, workflow_id: str) -> None:
        letters = self.written[workflow_id]
        letter = f"letter {len(letters)} to {workflow_id}"
        client = next(self._clients)
        if letters:
            await client.get_workflow_handle(workflow_id).signal(Post.write, letter)
        else:
            await client.start_workflow(
                Post.run, letter, id=workflow_id, task_queue=self._task_queue, task_timeout=self._task_timeout
            )
        letters.append(letter)

    async def _arrived(self, workflow_id: str) -> None:
        expected = ["Hello!", *self.delivered(workflow_id)]

        async def arrived() -> bool:
            return await self._handle(workflow_id).query(Post.delivered, "Hello!") == expected

        await eventually(arrived, "the arrival of letters")

    def _handle(self, workflow_id: str) -> WorkflowHandle[Any, list[str]]:
        return next(self._clients).get_workflow_handle_for(Post.run, workflow_id)


async def sealed_record(client: Client) -> Record:
    """The record of what ``client`` seals now."""
    (payload,) = await client.data_converter.encode(["something"])
    envelope = parse(payload.metadata, payload.data)
    assert envelope is not None
    return envelope.record


def version_of(record: Record) -> str:
    """The key version of the only recipient, as far as the KMS tells it."""
    (recipient,) = record.recipients
    return recipient.key_version


async def events_of(plain: Client, workflow_ids: Iterable[str]) -> list[HistoryEvent]:
    """All events of all of them."""
    histories = [await plain.get_workflow_handle(one).fetch_history() for one in workflow_ids]
    return [event for history in histories for event in history.events]


def records_in(events: Iterable[HistoryEvent]) -> list[Record]:
    """The record of every payload. All of them must be envelopes."""
    envelopes = [parse(payload.metadata, payload.data) for event in events for payload in payloads_in(event)]
    assert None not in envelopes
    return [envelope.record for envelope in envelopes if envelope is not None]


def troubles(events: Iterable[HistoryEvent]) -> list[str]:
    """What did not go well at once: failed tasks, and activities that were tried more than once.

    Not workflow tasks that timed out: on a busy machine some are lost before they reach a worker. With codecs that are
    `IMPATIENT`, none is theirs.
    """
    bad = (
        EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
    )
    return [
        str(event)
        for event in events
        if event.event_type in bad or event.activity_task_started_event_attributes.attempt > 1
    ]


async def task_failure(plain: Client, workflow_id: str) -> Failure:
    """Of the workflow's first failed task, as soon as there is one."""

    async def failed() -> Failure | None:
        for event in await events(plain, workflow_id):
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                return event.workflow_task_failed_event_attributes.failure
        return None

    return await eventually(failed, "a failed workflow task")


def workers_in(events: Iterable[HistoryEvent]) -> set[str]:
    """Who has done the tasks of these events."""
    done = (
        *("workflow_task_completed_event_attributes", "activity_task_started_event_attributes"),
        "workflow_task_failed_event_attributes",
    )
    return {getattr(event, name).identity for event in events for name in done if event.HasField(name)}  # type: ignore[arg-type]
