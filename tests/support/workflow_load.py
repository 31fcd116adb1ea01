"""Workflows that keep a worker busy, and what became of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.worker import Worker

from tests.support.server_records import events
from tests.support.small_workflows import AGAIN, PATIENT

FAULTS = {
    EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT,
}
"""Events that tell of a task that came to nothing."""

WAIT = 60.0


async def carried(text: str) -> str:
    """What becomes of a text by a local activity and an activity."""
    noted: str = await workflow.execute_local_activity("note", text, result_type=str, start_to_close_timeout=PATIENT)
    result: str = await workflow.execute_activity("carry", noted, result_type=str, start_to_close_timeout=PATIENT)
    return result


@workflow.defn
class Errand:
    """Carries one text."""

    @workflow.run
    async def run(self, text: str) -> str:
        return await carried(text)


@workflow.defn
class Desk:
    """Carries one text after another, until it is closed."""

    def __init__(self) -> None:
        self._closed = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self._closed)
        return "closed"

    @workflow.update
    async def carry(self, text: str) -> str:
        return await carried(text)

    @workflow.signal
    def close(self) -> None:
        self._closed = True


@workflow.defn
class Late:
    """Runs a local activity once it is told to. Neither the task nor the activity's start brings a payload."""

    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self._told)
        seen: str = await workflow.execute_local_activity(
            "look", result_type=str, start_to_close_timeout=PATIENT, retry_policy=AGAIN
        )
        return seen

    @workflow.signal
    def go(self) -> None:
        self._told = True


class Porter:
    """Activities that count how often their code ran, by activity and text."""

    def __init__(self) -> None:
        self.runs: Counter[tuple[str, str]] = Counter()

    @activity.defn
    async def look(self) -> str:
        self.runs["look", ""] += 1
        return "seen"

    @activity.defn
    async def note(self, text: str) -> str:
        self.runs["note", text] += 1
        return f"{text}, noted"

    @activity.defn
    async def carry(self, text: str) -> str:
        self.runs["carry", text] += 1
        return f"{text}, carried"


class Load:
    """A desk and errands for one worker.

    Args:
        starter: starts them.
        client: of the worker.
        name: of the task queue, and the beginning of workflow ids.
    """

    def __init__(self, starter: Client, client: Client, name: str) -> None:
        self._starter = starter
        self._client = client
        self._name = name
        self._texts = 0
        self._ids: list[str] = []
        self._desk: Any = None
        self.porter = Porter()

    def worker(self) -> Worker:
        """For an ``async with`` statement."""
        activities = [self.porter.note, self.porter.carry]
        return Worker(self._client, task_queue=self._name, workflows=[Desk, Errand], activities=activities)

    async def start(self) -> None:
        """Start the desk, and let it carry one text."""
        self._desk = await self._starter.start_workflow(Desk.run, id=self._id(), task_queue=self._name)
        await self.carry()

    async def carry(self) -> None:
        """Have one more text carried by the desk."""
        text = self._text()
        assert await asyncio.wait_for(self._desk.execute_update(Desk.carry, text), WAIT) == f"{text}, noted, carried"

    async def errand(self) -> None:
        """Have one more text carried by a workflow of its own."""
        text = self._text()
        errand = self._starter.execute_workflow(Errand.run, text, id=self._id(), task_queue=self._name)
        assert await asyncio.wait_for(errand, WAIT) == f"{text}, noted, carried"

    async def check(self, plain: Client) -> None:
        """No activity ran twice, and no task of a workflow or an activity came to nothing."""
        texts = [f"text {number}" for number in range(self._texts)]
        expected = Counter([*(("note", text) for text in texts), *(("carry", f"{text}, noted") for text in texts)])
        assert self.porter.runs == expected
        for workflow_id in self._ids:
            assert [event for event in await events(plain, workflow_id) if event.event_type in FAULTS] == []

    def _id(self) -> str:
        self._ids.append(f"{self._name} {len(self._ids)}")
        return self._ids[-1]

    def _text(self) -> str:
        self._texts += 1
        return f"text {self._texts - 1}"
