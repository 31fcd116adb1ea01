"""Workflows of which it is known how many payloads each holds."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    import nexusrpc
    import nexusrpc.handler


@nexusrpc.service
class Greeting:
    greet: nexusrpc.Operation[str, str]


@nexusrpc.handler.service_handler(service=Greeting)
class Greeter:
    @nexusrpc.handler.sync_operation
    async def greet(self, ctx: nexusrpc.handler.StartOperationContext, name: str) -> str:
        return name


@activity.defn
async def refuse(name: str) -> None:
    """Fail, with details, because of another failure that has details too."""
    try:
        raise ApplicationError("marigold is out of stock", name, name)
    except ApplicationError as cause:
        raise ApplicationError("no marigold", name, non_retryable=True) from cause


@workflow.defn
class Failing:
    """Holds an input; an activity's input; its failure, cause and their details; the workflow's own, as that again."""

    @workflow.run
    async def run(self, name: str) -> None:
        await workflow.execute_activity(refuse, name, schedule_to_close_timeout=timedelta(seconds=60))


@workflow.defn
class Child:
    """Holds an input and a result."""

    @workflow.run
    async def run(self, name: str) -> str:
        return name


@workflow.defn
class Parent:
    """Holds an input, a child's input and result, and a result."""

    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_child_workflow(Child.run, name, id=f"{workflow.info().workflow_id} child")


@workflow.defn
class Continuing:
    """Its first run holds an input and that of the next run. The next one holds an input and a result."""

    @workflow.run
    async def run(self, left: int) -> int:
        if left:
            workflow.continue_as_new(left - 1)
        return left


@workflow.defn
class Calling:
    """Holds two inputs, an operation's input and result, and a result."""

    @workflow.run
    async def run(self, endpoint: str, name: str) -> str:
        client = workflow.create_nexus_client(service=Greeting, endpoint=endpoint)
        return await client.execute_operation(Greeting.greet, name)


@workflow.defn
class Updated:
    """Holds an update's argument and result, and a result. What is queried is not in its history."""

    def __init__(self) -> None:
        self._name = ""

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: bool(self._name))
        return self._name

    @workflow.update
    async def rename(self, name: str) -> str:
        self._name = name
        return name

    @workflow.query
    def name(self, prefix: str) -> str:
        return prefix + self._name


WORKFLOWS = [Failing, Child, Parent, Continuing, Calling, Updated]
