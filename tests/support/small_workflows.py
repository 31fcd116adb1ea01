"""Small workflows and activities."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy

PATIENT = timedelta(seconds=100)
AGAIN = RetryPolicy(initial_interval=timedelta(milliseconds=100), backoff_coefficient=1)


@workflow.defn
class Hello:
    """Says hello."""

    @workflow.run
    async def run(self, name: str) -> str:
        return f"Hello, {name}!"


@workflow.defn
class Listen:
    """Returns the first thing that it is told."""

    def __init__(self) -> None:
        self._heard: list[str] = []

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: bool(self._heard))
        return self._heard[0]

    @workflow.signal
    def say(self, text: str) -> None:
        self._heard.append(text)


@workflow.defn
class Delegate:
    """Runs one activity of `Work`, which another worker may do."""

    @workflow.run
    async def run(self, activity_name: str, task_queue: str, argument: str) -> str:
        result: str = await workflow.execute_activity(
            activity_name,
            args=[argument] if argument else [],
            task_queue=task_queue,
            result_type=str,
            start_to_close_timeout=PATIENT,
            retry_policy=AGAIN,
        )
        return result


class Work:
    """Activities that note how often their code ran."""

    def __init__(self) -> None:
        self.attempts: list[int] = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    @activity.defn
    async def echo(self, text: str) -> str:
        self.attempts.append(activity.info().attempt)
        return f"echo of {text}"

    @activity.defn
    async def produce(self) -> str:
        self.attempts.append(activity.info().attempt)
        return "a product"

    @activity.defn
    async def wait(self, text: str) -> str:
        self.attempts.append(activity.info().attempt)
        self.begun.set()
        await self.go_on.wait()
        return f"waited with {text}"
