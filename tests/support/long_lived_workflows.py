"""A workflow that lives as long as it is wanted, and a load of many such, served by workers of several generations."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any, cast

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from tests.support.context_header import received_by_activity, received_by_workflow

_PATIENT = timedelta(seconds=100)
_AGAIN = RetryPolicy(initial_interval=timedelta(milliseconds=100), backoff_coefficient=1)


@workflow.defn
class Errands:
    """Runs two activities for each errand that it is sent on, one that succeeds and one that fails, and a timer."""

    def __init__(self) -> None:
        self._asked: list[str] = []
        self._told: list[str] = []
        self._enough = False

    @workflow.run
    async def run(self, name: str) -> list[str]:
        self._told.append(f"{name}, {received_by_workflow()}")
        while True:
            await workflow.wait_condition(lambda: bool(self._asked) or self._enough)
            if not self._asked:
                return self._told
            await self._do(self._asked.pop(0))

    async def _do(self, errand: str) -> None:
        carrying = workflow.start_activity_method(
            Errand.carry, errand, start_to_close_timeout=_PATIENT, retry_policy=_AGAIN
        )
        refusing = workflow.start_activity_method(
            Errand.refuse, errand, start_to_close_timeout=_PATIENT, retry_policy=_AGAIN
        )
        await workflow.sleep(timedelta(milliseconds=1))
        self._told.append(await carrying)
        try:
            await refusing
        except ActivityError as error:
            cause = cast(ApplicationError, error.cause)
            self._told.append(f"{cause.message}, {cause.details[0]}")

    @workflow.signal
    def go(self, errand: str) -> None:
        self._asked.append(errand)

    @workflow.signal
    def come_home(self) -> None:
        self._enough = True

    @workflow.query
    def told(self, greeting: str) -> list[str]:
        return [greeting, *self._told]

    @workflow.update
    async def remember(self, text: str, told: int) -> str:
        """Returns once as many things have been told."""
        await workflow.wait_condition(lambda: len(self._told) >= told)
        self._told.append(text)
        return f"{text}, remembered"


@workflow.defn
class Successor:
    """Continues as new when it is told to, once, and has its memo given again or not."""

    def __init__(self) -> None:
        self._told = 0

    @workflow.run
    async def run(self, again: bool, first: bool = True) -> str:
        await workflow.wait_condition(lambda: self._told > 0)
        if first:
            workflow.continue_as_new(args=[again, False], memo=workflow.memo() if again else None)
        memo: str = workflow.memo_value("note", type_hint=str)
        return memo

    @workflow.signal
    def go_on(self) -> None:
        self._told += 1

    @workflow.query
    def note(self) -> str:
        memo: str = workflow.memo_value("note", type_hint=str)
        return memo


class Errand:
    """The activities.

    Attributes:
        runs: how often the code of each ran, by its argument.
    """

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()

    @activity.defn
    async def carry(self, errand: str) -> str:
        self.runs[f"carry {errand}"] += 1
        return f"{errand} carried, {received_by_activity()}"

    @activity.defn
    async def refuse(self, errand: str) -> None:
        self.runs[f"refuse {errand}"] += 1
        raise ApplicationError(f"{errand} refused", f"details of {errand}", type="Refused", non_retryable=True)


class Conversation:
    """One workflow, and what its callers expect of it.

    Attributes:
        workflow_id: its id.
        errands: how many it was sent on.
    """

    def __init__(self, workflow_id: str, task_queue: str) -> None:
        self.workflow_id = workflow_id
        self.errands = 0
        self._task_queue = task_queue
        self._expected: list[str] = []

    async def begin(self, client: Client, header: str) -> None:
        await client.start_workflow(
            Errands.run, self.workflow_id, id=self.workflow_id, task_queue=self._task_queue, run_timeout=_PATIENT
        )
        self._expected.append(f"{self.workflow_id}, {header}")
        self._header = header

    async def send(self, client: Client) -> None:
        errand = f"{self.workflow_id} errand {self.errands}"
        self.errands += 1
        await self._handle(client).signal(Errands.go, errand)
        self._expected += [f"{errand} carried, {self._header}", f"{errand} refused, details of {errand}"]

    async def talk(self, one: Client, other: Client) -> None:
        """What one client has sent, the other asks for."""
        await self.send(one)
        reminder = f"reminder {self.errands}"
        remembered = await self._handle(other).execute_update(Errands.remember, args=[reminder, len(self._expected)])
        assert remembered == f"{reminder}, remembered"
        self._expected.append(reminder)
        assert await self._handle(one).query(Errands.told, "well?") == ["well?", *self._expected]

    async def end(self, one: Client, other: Client) -> None:
        await self._handle(one).signal(Errands.come_home)
        assert await self._handle(other).result() == self._expected

    def _handle(self, client: Client) -> WorkflowHandle[Any, list[str]]:
        return client.get_workflow_handle_for(Errands.run, self.workflow_id)
