"""A workflow in Python that clients in other languages start."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow


@activity.defn
async def welcome(name: str) -> str:
    return f"Welcome, {name}!"


@workflow.defn(name="PythonGreeting")
class PythonGreeting:
    """Welcomes whom it was started with, once it is told of somebody."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self, name: str) -> str:
        await workflow.wait_condition(lambda: bool(self.told))
        welcomed = await workflow.execute_activity(welcome, name, start_to_close_timeout=timedelta(minutes=1))
        return f"{welcomed} And {self.told[0]}."

    @workflow.signal
    def tell(self, name: str) -> None:
        self.told.append(name)
