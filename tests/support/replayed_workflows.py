"""A workflow whose every step depends on what it is told, and one that pretends to be the same."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import cast

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from tests.support.context_header import received_by_workflow
    from tests.support.small_workflows import Hello

_TIMEOUT = timedelta(seconds=60)
_ONCE = RetryPolicy(maximum_attempts=1)


@activity.defn
async def count(text: str) -> int:
    return len(text)


@activity.defn
async def decline(text: str) -> str:
    raise ApplicationError(text, text, non_retryable=True)


@workflow.defn
class Trip:
    """Sleeps as often as its input, header, memo, signal, update and the results of others say, and tells how often."""

    def __init__(self) -> None:
        self._said = ""
        self._changed = ""

    @workflow.run
    async def run(self, text: str) -> int:
        sleeps = len(text) + len(received_by_workflow()) + len(workflow.memo_value("note", type_hint=str))
        sleeps += await workflow.execute_activity(count, text, start_to_close_timeout=_TIMEOUT)
        sleeps += await workflow.execute_local_activity(count, text, start_to_close_timeout=_TIMEOUT)
        sleeps += len(await workflow.execute_child_workflow(Hello.run, text))
        try:
            await workflow.execute_activity(decline, text, start_to_close_timeout=_TIMEOUT, retry_policy=_ONCE)
        except ActivityError as error:
            cause = cast(ApplicationError, error.cause)
            sleeps += len(cause.message) + len(cause.details[0])
        await workflow.wait_condition(lambda: bool(self._said and self._changed))
        sleeps += len(self._said) + len(self._changed)
        await asyncio.gather(*(asyncio.sleep(0.001) for _ in range(sleeps)))
        return sleeps

    @workflow.signal
    def say(self, text: str) -> None:
        self._said = text

    @workflow.update
    async def change(self, text: str) -> str:
        self._changed = text
        return text


@workflow.defn(name="Trip")
class Detour:
    """What `Trip` has been changed to, so that its histories replay no more."""

    @workflow.run
    async def run(self, text: str) -> int:
        return await workflow.execute_activity(count, text, start_to_close_timeout=_TIMEOUT)

    @workflow.signal
    def say(self, text: str) -> None:
        pass

    @workflow.update
    async def change(self, text: str) -> str:
        return text
