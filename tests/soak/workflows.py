"""Workflows of several kinds. Each makes of its text what `tests.soak.expected` says."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

AGAIN = RetryPolicy(
    initial_interval=timedelta(milliseconds=300), backoff_coefficient=1.5, maximum_interval=timedelta(seconds=2)
)
LIMIT = timedelta(seconds=float(os.environ.get("SOAK_LIMIT", "25")))
"""What an attempt at an activity may take."""

LOCAL_LIMIT = 10.0
"""Seconds after which Temporal gives a workflow task again, and with it the local activities in it."""

PLANNED_TYPE = "Planned"
HEARTBEAT_LOST = 3
"""How often an activity is begun anew whose heartbeat details could not be opened."""


async def run_activity(name: str, *arguments: Any) -> str:
    result: str = await workflow.execute_activity(
        name, args=arguments, result_type=str, start_to_close_timeout=LIMIT, retry_policy=AGAIN
    )
    return result


async def run_locally(text: str, mark: str) -> str:
    result: str = await workflow.execute_local_activity(
        "stamp", args=[text, mark], result_type=str, start_to_close_timeout=LIMIT, retry_policy=AGAIN
    )
    return result


@workflow.defn
class Short:
    """A local activity: a single task."""

    @workflow.run
    async def run(self, text: str) -> str:
        return await run_locally(text, "short")


@workflow.defn
class Chain:
    """Two activities; tells what it has come to, also when it has ended."""

    def __init__(self) -> None:
        self._text = ""

    @workflow.run
    async def run(self, text: str) -> str:
        self._text = await run_activity("stamp", text, "a")
        self._text = await run_activity("stamp_in_thread", self._text, "b")
        return self._text

    @workflow.query
    def tell(self, question: str) -> str:
        return f"{question}: {self._text}"


@workflow.defn
class Local:
    """A local activity and another."""

    @workflow.run
    async def run(self, text: str) -> str:
        return await run_activity("stamp", await run_locally(text, "local"), "c")


@workflow.defn
class Mailbox:
    """Waits for letters. One that comes twice counts once."""

    def __init__(self) -> None:
        self._letters: dict[int, str] = {}

    @workflow.run
    async def run(self, expected: int) -> str:
        await workflow.wait_condition(lambda: len(self._letters) >= expected)
        return "|".join(self._letters[number] for number in sorted(self._letters))

    @workflow.signal
    def post(self, number: int, letter: str) -> None:
        self._letters[number] = letter

    @workflow.query
    def letters(self, prefix: str) -> list[str]:
        return [prefix + letter for letter in self._letters.values()]


@workflow.defn
class Ledger:
    """Takes updates, each of which runs an activity."""

    def __init__(self) -> None:
        self._entries: list[str] = []

    @workflow.run
    async def run(self, expected: int) -> str:
        await workflow.wait_condition(lambda: len(self._entries) >= expected and workflow.all_handlers_finished())
        return "|".join(sorted(self._entries))

    @workflow.update
    async def enter(self, text: str) -> str:
        entry = await run_activity("stamp", text, "entered")
        self._entries.append(entry)
        return entry

    @enter.validator
    def check(self, text: str) -> None:
        if text.endswith("refused"):
            raise ApplicationError("planned: " + text, type=PLANNED_TYPE)


@workflow.defn
class Parent:
    """Two children of two kinds."""

    @workflow.run
    async def run(self, text: str) -> str:
        children = [
            workflow.execute_child_workflow(
                child,
                f"{text}.{number}",
                id=f"{workflow.info().workflow_id}-{number}",
                memo={"note": text},
                result_type=str,
            )
            for number, child in enumerate(("Short", "Local"))
        ]
        return "|".join(await asyncio.gather(*children))


@workflow.defn
class Rounds:
    """Goes on as new twice."""

    @workflow.run
    async def run(self, text: str, number: int) -> str:
        text = await run_activity("stamp", text, str(number))
        if number < 2:
            workflow.continue_as_new(args=[text, number + 1])
        return text


@workflow.defn
class Failing:
    """Fails with the details of an activity's failure."""

    @workflow.run
    async def run(self, text: str) -> str:
        try:
            return await run_activity("fail", text)
        except ActivityError as error:
            cause = error.cause
            if not isinstance(cause, ApplicationError):
                raise
            message, detail = f"planned: {cause.message}", f"{cause.details[0]}.seen"
            raise ApplicationError(message, detail, type=PLANNED_TYPE, non_retryable=True) from error


@workflow.defn
class Large:
    """Payloads that go to the store."""

    @workflow.run
    async def run(self, text: str, times: int) -> str:
        grown = await run_activity("grow", text, times)
        return await run_activity("shrink", grown, len(text) * times // 2)


@workflow.defn
class Memo:
    """Changes its memo, and reads a header in an activity."""

    @workflow.run
    async def run(self) -> str:
        note: str = workflow.memo_value("note", type_hint=str)
        workflow.upsert_memo({"note": f"{note}.changed", "more": note})
        return f"{note}|{await run_activity('read_header')}"


@workflow.defn
class Beats:
    """An activity that goes on from its heartbeat details, after a moment."""

    @workflow.run
    async def run(self, text: str) -> str:
        await workflow.sleep(0.2)
        for _ in range(HEARTBEAT_LOST):
            try:
                return await run_activity("beat", text)
            except ActivityError as error:
                # The one thing for which Temporal gives an activity up, as docs/failures.md says.
                if "heartbeat details" not in str(error.cause):
                    raise
        return await run_activity("beat", text)


WORKFLOWS = [Short, Chain, Local, Mailbox, Ledger, Parent, Rounds, Failing, Large, Memo, Beats]
