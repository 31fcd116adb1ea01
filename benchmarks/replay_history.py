"""A history as several processes write it, made without a server, and the workflow that replays it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.api.common.v1 import ActivityType, Payload, Payloads, WorkflowType
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.client import WorkflowHistory
from temporalio.converter import PayloadCodec

_QUEUE = TaskQueue(name="replay")
_TYPE = ActivityType(name="work")
_BEGIN = 4  # events before the first activity
_TASK = 3  # events of a workflow task


@workflow.defn(name="Replayed")
class Replayed:
    """Runs batches of activities, one batch after another."""

    @workflow.run
    async def run(self, batches: int, width: int) -> None:
        """Run so many batches of ``width`` activities at once."""
        for _ in range(batches):
            await asyncio.gather(
                *(
                    workflow.execute_activity("work", "x", start_to_close_timeout=timedelta(seconds=60))
                    for _ in range(width)
                )
            )


def count_batches(events: int, width: int) -> int:
    """Return of how many batches a history of so many events consists."""
    return (events - _BEGIN - 1) // (3 * width + _TASK)


async def make_history(events: int, width: int, writers: Sequence[PayloadCodec], result: Payload) -> WorkflowHistory:
    """Make a history of about ``events`` events: batches of ``width`` activities.

    Args:
        events: how many.
        width: activities that end before the workflow goes on, and so are told to it together.
        writers: seal the results in turns; the first seals the workflow's arguments.
        result: of each activity.
    """
    batches = count_batches(events, width)
    written = _Written()
    arguments = [Payload(metadata={"encoding": b"json/plain"}, data=b"%d" % number) for number in (batches, width)]
    started = written.add(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED).workflow_execution_started_event_attributes
    started.workflow_type.CopyFrom(WorkflowType(name="Replayed"))
    started.task_queue.CopyFrom(_QUEUE)
    started.input.CopyFrom(Payloads(payloads=await writers[0].encode(arguments)))
    started.original_execution_run_id = started.first_execution_run_id = "00000000-0000-4000-8000-000000000000"
    started.workflow_id = "replayed"
    started.attempt = 1
    completed = written.add_task()
    for batch in range(batches):
        numbers = range(batch * width, (batch + 1) * width)
        scheduled = [written.schedule(number, completed) for number in numbers]
        begun = [written.start(event) for event in scheduled]
        for number, event, start in zip(numbers, scheduled, begun, strict=True):
            written.complete(event, start, await writers[number % len(writers)].encode([result]))
        completed = written.add_task()
    end = written.add(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED)
    end.workflow_execution_completed_event_attributes.workflow_task_completed_event_id = completed
    return WorkflowHistory("replayed", History(events=written.events).events)


class _Written:
    """Events, in order."""

    def __init__(self) -> None:
        self.events: list[HistoryEvent] = []

    def add(self, kind: EventType.ValueType) -> HistoryEvent:
        """Add an event, and return it."""
        event = HistoryEvent(event_id=len(self.events) + 1, event_type=kind)
        event.event_time.FromSeconds(1_700_000_000 + len(self.events))
        self.events.append(event)
        return event

    def add_task(self) -> int:
        """Add a workflow task that has been completed. Return the id of its last event."""
        scheduled = self.add(EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED)
        scheduled.workflow_task_scheduled_event_attributes.task_queue.CopyFrom(_QUEUE)
        started = self.add(EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED)
        started.workflow_task_started_event_attributes.scheduled_event_id = scheduled.event_id
        completed = self.add(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
        completed.workflow_task_completed_event_attributes.scheduled_event_id = scheduled.event_id
        completed.workflow_task_completed_event_attributes.started_event_id = started.event_id
        return completed.event_id

    def schedule(self, number: int, completed: int) -> int:
        """Add the command for the activity of this number. Return the event's id."""
        event = self.add(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
        scheduled = event.activity_task_scheduled_event_attributes
        scheduled.activity_id = str(number + 1)
        scheduled.activity_type.CopyFrom(_TYPE)
        scheduled.task_queue.CopyFrom(_QUEUE)
        scheduled.workflow_task_completed_event_id = completed
        return event.event_id

    def start(self, scheduled: int) -> int:
        """Add the start of an activity. Return the event's id."""
        event = self.add(EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED)
        event.activity_task_started_event_attributes.scheduled_event_id = scheduled
        return event.event_id

    def complete(self, scheduled: int, started: int, result: list[Payload]) -> None:
        """Add the result of an activity."""
        event = self.add(EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
        completed = event.activity_task_completed_event_attributes
        completed.scheduled_event_id = scheduled
        completed.started_event_id = started
        completed.result.CopyFrom(Payloads(payloads=result))
