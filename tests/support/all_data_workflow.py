"""A workflow that sends every kind of user data through Temporal, each piece with a mark of its own in it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NoReturn, cast

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, ChildWorkflowError
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from tests.support.context_header import received_by_activity, received_by_workflow

STACK_TRACE_MARK = "marigold_in_a_stack_trace"
"""A variable's name, so that it stands in a line of source that a stack trace quotes."""

_TIMEOUT = timedelta(seconds=60)
_ONCE = RetryPolicy(maximum_attempts=1)
_AGAIN = RetryPolicy(initial_interval=timedelta(milliseconds=50))

# Where user data goes, and stays with the server.
STORED = (
    *("workflow input", "workflow result", "header", "memo", "upserted memo", "summary", "details"),
    *("activity input", "activity result", "activity summary", "heartbeat", "retried failure", "timer summary"),
    *("async heartbeat", "async result", "cancellation details"),
    *("failure message", "failure details", "failure cause", "async failure", "workflow failure", "workflow details"),
    *("local input", "local result", "local failure"),
    *("child input", "child result", "child signal", "child failure"),
    *("start signal", "signal", "update input", "update result", "update failure"),
    *("continued input", "termination details"),
)
UNSTORED = ("local input",)  # a local activity's arguments never leave the worker


def mark(base: str, where: str) -> str:
    """A text that occurs nowhere else; ``base`` is 8 characters or more."""
    return f"{base} in {where}"


@dataclass
class Order:
    """What the workflow is started with, and continued with."""

    base: str
    text: str
    seen: dict[str, str] = field(default_factory=dict)


class Activities:
    """One of them waits until it is told to go on."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    @activity.defn
    async def reply(self, base: str, question: str, where: str) -> list[str]:
        return [question, mark(base, where), received_by_activity()]

    @activity.defn
    async def resume(self, base: str) -> str:
        if activity.info().attempt == 1:
            activity.heartbeat(mark(base, "heartbeat"))
            raise RuntimeError(mark(base, "retried failure"))
        await self.go_on.wait()
        (details,) = activity.info().heartbeat_details
        return str(details)

    @activity.defn
    async def detached(self) -> str:
        activity.raise_complete_async()

    @activity.defn
    async def decline(self, base: str, where: str) -> str:
        _decline(base, where)


def _decline(base: str, where: str) -> NoReturn:
    marigold_in_a_stack_trace = ValueError(mark(base, "failure cause"))
    try:
        raise marigold_in_a_stack_trace
    except ValueError as cause:
        raise ApplicationError(
            mark(base, where), {"why": mark(base, "failure details")}, type="Declined", non_retryable=True
        ) from cause


@workflow.defn
class Child:
    def __init__(self) -> None:
        self._nudge = ""

    @workflow.run
    async def run(self, base: str, text: str) -> list[str]:
        await workflow.wait_condition(lambda: bool(self._nudge))
        return [text, self._nudge, mark(base, "child result"), received_by_workflow()]

    @workflow.signal
    def nudge(self, text: str) -> None:
        self._nudge = text


@workflow.defn
class Decline:
    @workflow.run
    async def run(self, base: str, where: str) -> None:
        try:
            await workflow.execute_activity_method(
                Activities.decline, args=[base, "failure message"], start_to_close_timeout=_TIMEOUT
            )
        except ActivityError as error:
            raise ApplicationError(mark(base, where), mark(base, "workflow details"), type="Sorry") from error


@workflow.defn
class Everything:
    """Goes through all of it, then continues as new, and the next run returns what was seen."""

    def __init__(self) -> None:
        self.signals: list[str] = []
        self.updates: list[str] = []
        self.cancel_now = False

    @workflow.run
    async def run(self, order: Order) -> dict[str, str]:
        base = order.base
        if order.seen:
            header = received_by_workflow()
            return {**order.seen, "continued": order.text, "late header": header, "": mark(base, "workflow result")}
        seen = {"input": order.text, "header": received_by_workflow(), "memo": workflow.memo_value("started")}
        workflow.upsert_memo({"upserted": mark(base, "upserted memo")})
        await workflow.sleep(0.001, summary=mark(base, "timer summary"))
        await self._activities(base, seen)
        await self._detached(base, seen)
        await self._failures(base, seen)
        await self._local(base, seen)
        await self._child(base, seen)
        await workflow.wait_condition(lambda: len(self.signals) == 2 and len(self.updates) == 2)
        seen["signals"] = "; ".join(self.signals)
        seen["updates"] = "; ".join(self.updates)
        return workflow.continue_as_new(Order(base, mark(base, "continued input"), seen))

    async def _activities(self, base: str, seen: dict[str, str]) -> None:
        question = mark(base, "activity input")
        seen["heard"], seen["answer"], seen["activity header"] = await workflow.execute_activity_method(
            Activities.reply,
            args=[base, question, "activity result"],
            start_to_close_timeout=_TIMEOUT,
            summary=mark(base, "activity summary"),
        )
        seen["heartbeat"] = await workflow.execute_activity_method(
            Activities.resume, base, activity_id="resume", start_to_close_timeout=_TIMEOUT, retry_policy=_AGAIN
        )

    async def _detached(self, base: str, seen: dict[str, str]) -> None:
        def start(activity_id: str) -> workflow.ActivityHandle[str]:
            return workflow.start_activity_method(
                Activities.detached,
                activity_id=activity_id,
                start_to_close_timeout=_TIMEOUT,
                cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                retry_policy=_ONCE,
            )

        seen["async result"] = await start("completed")
        try:
            await start("failed")
        except ActivityError as error:
            seen["async failure"] = str(error.cause)
        cancelled = start("cancelled")
        await workflow.wait_condition(lambda: self.cancel_now)
        cancelled.cancel()
        try:
            await cancelled
        except ActivityError as error:
            (seen["cancellation"],) = cast(CancelledError, error.cause).details

    async def _failures(self, base: str, seen: dict[str, str]) -> None:
        try:
            await workflow.execute_activity_method(
                Activities.decline, args=[base, "failure message"], start_to_close_timeout=_TIMEOUT
            )
        except ActivityError as error:
            cause = cast(ApplicationError, error.cause)
            seen["failure"], seen["failure details"], seen["failure cause"] = (
                *(cause.message, cause.details[0]["why"]),
                str(cause.cause),
            )

    async def _local(self, base: str, seen: dict[str, str]) -> None:
        heard, seen["local result"], _ = await workflow.execute_local_activity_method(
            Activities.reply, args=[base, mark(base, "local input"), "local result"], start_to_close_timeout=_TIMEOUT
        )
        seen["local input"] = heard
        try:
            await workflow.execute_local_activity_method(
                Activities.decline, args=[base, "local failure"], start_to_close_timeout=_TIMEOUT, retry_policy=_ONCE
            )
        except ApplicationError as error:  # of a local activity, as it is
            seen["local failure"] = str(error)

    async def _child(self, base: str, seen: dict[str, str]) -> None:
        child = await workflow.start_child_workflow(
            Child.run, args=[base, mark(base, "child input")], id=f"{workflow.info().workflow_id} child"
        )
        await child.signal(Child.nudge, mark(base, "child signal"))
        seen["child input"], seen["child signal"], seen["child result"], seen["child header"] = await child
        try:
            await workflow.execute_child_workflow(
                Decline.run, args=[base, "child failure"], id=f"{workflow.info().workflow_id} declining child"
            )
        except ChildWorkflowError as error:
            seen["child failure"] = str(error.cause)

    @workflow.signal
    def say(self, text: str) -> None:
        self.signals.append(text)

    @workflow.signal
    def cancel(self) -> None:
        self.cancel_now = True

    @workflow.query
    def echo(self, text: str) -> list[str]:
        return [text, *self.signals]

    @workflow.query
    def fail_query(self, text: str) -> str:
        raise ApplicationError(text)

    @workflow.update
    async def change(self, base: str, text: str) -> str:
        self.updates.append(text)
        return mark(base, "update result")

    @workflow.update
    async def change_in_vain(self, base: str) -> str:
        self.updates.append("in vain")
        raise ApplicationError(mark(base, "update failure"))

    @workflow.update
    async def refuse(self, text: str) -> None:
        pass

    @refuse.validator
    def check(self, text: str) -> None:
        raise ApplicationError(text)
