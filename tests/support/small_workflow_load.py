"""Many small workflows at once, and some that go on while the many pass."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import cycle

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

with workflow.unsafe.imports_passed_through():
    from envelope_codec import Event
    from tests.support.server_records import eventually, result_of

SHORT_EVENTS = 5
"""Started, one task scheduled, started and completed, completed. More if a task had to be done again."""
_AT_ONCE = 30


@workflow.defn
class Short:
    @workflow.run
    async def run(self, text: str) -> str:
        return f"{text} done"


@workflow.defn
class Long:
    """Returns what it has been told, when that is enough."""

    def __init__(self) -> None:
        self._heard: list[str] = []

    @workflow.run
    async def run(self, enough: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self._heard) == enough)
        return self._heard

    @workflow.signal
    def say(self, text: str) -> None:
        self._heard.append(text)


def worker(client: Client, task_queue: str) -> Worker:
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[Short, Long],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )


class SmallWorkflowLoad:
    """Some workflows of either kind, and their callers, who take turns.

    Attributes:
        done: short workflows that have ended well.
    """

    def __init__(self, name: str, clients: Sequence[Client], short: int, long: int, enough: int) -> None:
        self.short = [f"{name} short {number}" for number in range(short)]
        self.long = [f"{name} long {number}" for number in range(long)]
        self.done = 0
        self.task_queue = name
        self._enough = enough
        self._clients: Iterator[Client] = cycle(clients)
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def begin(self) -> None:
        """Start the long ones."""
        for workflow_id in self.long:
            await next(self._clients).start_workflow(Long.run, self._enough, id=workflow_id, task_queue=self.task_queue)

    async def say(self, text: str) -> None:
        """To the long ones."""
        for workflow_id in self.long:
            await next(self._clients).get_workflow_handle(workflow_id).signal(Long.say, text)

    async def end(self, expected: list[str]) -> None:
        """Of the long ones."""
        for workflow_id in self.long:
            handle = next(self._clients).get_workflow_handle(workflow_id, result_type=list[str])
            assert await result_of(handle) == expected

    async def pass_by(self) -> None:
        """Run all the short ones, some at once."""
        await asyncio.gather(*map(self._pass, self.short))

    async def share_done(self, share: float) -> None:
        """Wait until so many of the short ones have ended."""

        async def enough() -> bool:
            return self.done >= share * len(self.short)

        await eventually(enough, "short workflows")

    async def _pass(self, workflow_id: str) -> None:
        async with self._room:
            result = await next(self._clients).execute_workflow(
                Short.run, workflow_id, id=workflow_id, task_queue=self.task_queue
            )
        assert result == f"{workflow_id} done"
        self.done += 1


class Failures(list[Event]):
    """An observer that takes down what failed: payloads, and calls of the KMS."""

    def on_event(self, event: Event) -> None:
        if event.outcome != "ok":
            self.append(event)
