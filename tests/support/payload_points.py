"""Workflows, activities and Nexus operations for each point at which a payload is sealed or opened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn

import nexusrpc
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation
from temporalio import activity, workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from tests.support.small_workflows import AGAIN, PATIENT, Hello

SECRET = "marigold, in plain words"
"""What every payload holds."""

SOON = timedelta(seconds=1)
"""The server hands out a failed workflow task again after so long."""

FAR = " far"
"""Ends the name of the task queue of the worker whose codec fails; the other's has the same name without it."""

continue_as_new: Callable[..., NoReturn] = workflow.continue_as_new
"""As another workflow, by its name, too: the SDK allows that, but its types do not."""


@nexusrpc.service
class Service:
    echo: nexusrpc.Operation[str, str]
    produce: nexusrpc.Operation[None, str]


class Code:
    """Activities that count how often their code ran. Most wait to be told to go on."""

    def __init__(self) -> None:
        self.runs = 0
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def _run(self) -> None:
        self.runs += 1
        self.begun.set()
        await self.go_on.wait()

    @property
    def activities(self) -> list[Any]:
        return [self.echo, self.produce, self.fail, self.beat, self.resume, self.leave, self.end]

    @activity.defn
    async def echo(self, text: str) -> str:
        self.runs += 1
        return text

    @activity.defn
    async def produce(self) -> str:
        await self._run()
        return SECRET

    @activity.defn
    async def fail(self) -> str:
        """Fails for good, at the first run."""
        await self._run()
        if self.runs == 1:
            raise ApplicationError(SECRET, non_retryable=True)
        return SECRET

    @activity.defn
    async def beat(self) -> str:
        """Sends details with a heartbeat, at the first run, and then waits for ever."""
        await self._run()
        if self.runs == 1:
            activity.heartbeat(SECRET)
            await asyncio.Event().wait()
        return SECRET

    @activity.defn
    async def resume(self) -> str:
        """Needs two attempts."""
        await self._run()
        if activity.info().attempt == 1:
            raise ApplicationError(SECRET)
        return SECRET

    @activity.defn
    async def leave(self) -> str:
        """Is completed from elsewhere."""
        self.runs += 1
        self.begun.set()
        activity.raise_complete_async()

    @activity.defn
    async def end(self) -> str:
        """Waits to be cancelled, and takes its time then."""
        self.runs += 1
        try:
            while True:
                activity.heartbeat()
                await asyncio.sleep(0.02)
        finally:
            self.begun.set()
            await self.go_on.wait()


@service_handler(service=Service)
class Operations:
    """Nexus operations that do what activities of the same names do."""

    def __init__(self, code: Code) -> None:
        self._code = code

    @sync_operation
    async def echo(self, ctx: StartOperationContext, text: str) -> str:
        return await self._code.echo(text)

    @sync_operation
    async def produce(self, ctx: StartOperationContext, nothing: None) -> str:
        return await self._code.produce()


@workflow.defn
class Pass:
    """Passes a payload on as it is, and returns what comes back as it is. Its worker knows nothing of encryption."""

    @workflow.run
    async def run(self, to: str, payload: RawValue) -> RawValue:
        far = workflow.info().task_queue + FAR
        if to == "child":
            hello: RawValue = await workflow.execute_child_workflow(
                "Hello",
                payload,
                id=f"{workflow.info().workflow_id} child",
                task_queue=far,
                task_timeout=SOON,
                result_type=RawValue,
            )
            return hello
        if to == "next run":
            continue_as_new(payload, workflow="Hello", task_queue=far, task_timeout=SOON)
        if to == "back":
            return payload
        answer: RawValue = await workflow.execute_activity(
            to,
            args=[payload] if to == "echo" else [],
            activity_id="it",
            task_queue=far,
            start_to_close_timeout=PATIENT,
            heartbeat_timeout=PATIENT,
            retry_policy=AGAIN,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            result_type=RawValue,
        )
        return answer


@workflow.defn
class Hurry:
    """Gives each attempt at an activity one second. Its worker knows nothing of encryption."""

    @workflow.run
    async def run(self, payload: RawValue) -> RawValue:
        answer: RawValue = await workflow.execute_activity(
            "echo",
            payload,
            task_queue=workflow.info().task_queue + FAR,
            start_to_close_timeout=timedelta(seconds=1),
            retry_policy=AGAIN,
            result_type=RawValue,
        )
        return answer


@workflow.defn
class Call:
    """Calls a Nexus operation. Its worker knows nothing of encryption."""

    @workflow.run
    async def run(self, operation: str, endpoint: str, payload: RawValue) -> RawValue:
        client = workflow.create_nexus_client(service="Service", endpoint=endpoint)
        return await client.execute_operation(
            operation, payload if operation == "echo" else None, output_type=RawValue, schedule_to_close_timeout=PATIENT
        )


@workflow.defn
class Tell:
    @workflow.run
    async def run(self) -> str:
        return SECRET


@workflow.defn
class Converse:
    """Can be told, asked and changed, until it is told to end."""

    def __init__(self) -> None:
        self._heard = ""
        self._over = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self._over)
        return self._heard

    @workflow.signal
    def say(self, text: str) -> None:
        self._heard = text

    @workflow.signal
    def end(self) -> None:
        self._over = True

    @workflow.query
    def repeat(self, text: str) -> str:
        return text

    @workflow.query
    def tell(self) -> str:
        return SECRET

    @workflow.update
    async def change(self, text: str) -> str:
        return text

    @workflow.update
    async def give(self) -> str:
        return SECRET


@workflow.defn
class Beget:
    """Has a child that it gives an input."""

    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_child_workflow(Hello.run, SECRET, id=f"{workflow.info().workflow_id} child")


@workflow.defn
class GoOn:
    """Continues as another workflow."""

    @workflow.run
    async def run(self) -> str:
        continue_as_new(SECRET, workflow="Hello")


@workflow.defn
class Employ:
    """Runs an activity on the worker whose codec never fails."""

    @workflow.run
    async def run(self) -> str:
        result: str = await workflow.execute_activity(
            "hand over",
            task_queue=workflow.info().task_queue.removesuffix(FAR),
            result_type=str,
            start_to_close_timeout=PATIENT,
            retry_policy=AGAIN,
        )
        return result


@workflow.defn
class Alone:
    """Runs a local activity when it is told to."""

    def __init__(self) -> None:
        self._wanted = ""

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: bool(self._wanted))
        result: str = await workflow.execute_local_activity(
            self._wanted,
            args=[SECRET] if self._wanted == "echo" else [],
            result_type=str,
            start_to_close_timeout=PATIENT,
            local_retry_threshold=PATIENT,
            retry_policy=AGAIN,
        )
        return result

    @workflow.signal
    def echo(self) -> None:
        self._wanted = "echo"

    @workflow.signal
    def produce(self) -> None:
        self._wanted = "produce"


FAR_WORKFLOWS = [Hello, Tell, Converse, Beget, GoOn, Employ, Alone]
PLAIN_WORKFLOWS = [Pass, Call]
