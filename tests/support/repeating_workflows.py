"""A workflow that hands over commands of every kind, and goes on as it is told. Workers replay it again and again."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from tests.support.small_workflows import Hello, Listen

PATIENT = timedelta(seconds=100)


@activity.defn
async def echo(text: str) -> str:
    return text


@workflow.defn
class Station:
    """Does a bit of everything, then what signals tell it."""

    def __init__(self) -> None:
        self._orders: list[str] = []
        self._seen: list[str] = []

    @workflow.run
    async def run(self, text: str, listener: str) -> list[str]:
        self._seen += await asyncio.gather(*(self._echo(f"{text} {number}") for number in range(3)))
        self._seen.append(await workflow.execute_local_activity(echo, f"{text} local", start_to_close_timeout=PATIENT))
        self._seen.append(await workflow.execute_child_workflow(Hello.run, text))
        if listener:
            await workflow.get_external_workflow_handle_for(Listen.run, listener).signal(Listen.say, text)
        workflow.upsert_memo({"note": text})
        await workflow.sleep(0.001, summary=f"{text} nap")
        if workflow.patched("more"):
            self._seen.append(await self._echo(f"{text} patched"))
        while True:
            await workflow.wait_condition(lambda: bool(self._orders))
            order = self._orders.pop(0)
            if order == "end":
                return self._seen
            if order == "fail":
                raise ApplicationError(text, text)
            if order == "next":
                workflow.continue_as_new(args=[f"{text} again", ""])
            self._seen.append(await self._echo(order))

    async def _echo(self, text: str) -> str:
        return await workflow.execute_activity(echo, text, start_to_close_timeout=PATIENT)

    @workflow.signal
    def order(self, what: str) -> None:
        self._orders.append(what)

    @workflow.update
    async def change(self, text: str) -> str:
        return await self._echo(text)

    @workflow.query
    def seen(self) -> list[str]:
        return self._seen

    @workflow.query
    def large(self, size: int) -> str:
        return "x" * size


@workflow.defn(sandboxed=False, name="Waiting")
class Waiting:
    """Waits to be told."""

    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self, size: int) -> Any:
        await workflow.wait_condition(lambda: self._told)
        return "told"

    @workflow.signal
    def tell(self) -> None:
        self._told = True


@workflow.defn(sandboxed=False, name="Waiting")
class Changed(Waiting):
    """What `Waiting` has been changed to, against Temporal's rules: the histories from before lack its activity."""

    @workflow.run
    async def run(self, size: int) -> Any:
        length = len(await workflow.execute_activity(echo, "x" * size, start_to_close_timeout=PATIENT))
        await workflow.wait_condition(lambda: self._told)
        return length
