"""Workflows, activities and operations, all of whose errors are hard to send."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import nexusrpc
from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, FailureError, NexusOperationError

from tests.support.unruly_errors import UNRULY

DETAILS = "details that are not serializable"
KINDS = (
    DETAILS,
    "text that raises",
    "cyclic causes",
    "more causes than protobuf reads",
    "lone surrogate",
    "type that is no text",
    "BaseException",
)
ASKED = ("category that raises", "class that raises")
"""What the SDK asks of an activity's error before it makes a failure of it."""

_ONCE = RetryPolicy(maximum_attempts=1)
_PATIENT = timedelta(seconds=100)


@activity.defn
async def refuse(kind: str, secret: str) -> None:
    raise UNRULY[kind](secret)


@activity.defn
def refuse_in_a_thread(kind: str, secret: str) -> None:
    raise UNRULY[kind](secret)


@activity.defn
async def leave_it_to_others() -> None:
    activity.raise_complete_async()


@nexusrpc.service
class Bank:
    refuse: nexusrpc.Operation[list[str], str]
    decline: nexusrpc.Operation[list[str], str]


@nexusrpc.handler.service_handler(service=Bank)
class BankHandler:
    @nexusrpc.handler.sync_operation
    async def refuse(self, ctx: nexusrpc.handler.StartOperationContext, given: list[str]) -> str:
        error = nexusrpc.HandlerError(f"{given[1]} is unknown", type=nexusrpc.HandlerErrorType.BAD_REQUEST)
        raise error from UNRULY[given[0]](given[1])

    @nexusrpc.handler.sync_operation
    async def decline(self, ctx: nexusrpc.handler.StartOperationContext, given: list[str]) -> str:
        error = nexusrpc.OperationError(f"{given[1]} is declined", state=nexusrpc.OperationErrorState.FAILED)
        raise error from UNRULY[given[0]](given[1])


@workflow.defn
class Child:
    @workflow.run
    async def run(self, secret: str) -> None:
        raise UNRULY[DETAILS](secret)


@workflow.defn
class Account:
    """Meets one error after another, and ends with one."""

    def __init__(self) -> None:
        self._done = False

    @workflow.run
    async def run(self, secret: str, endpoint: str) -> None:
        for kind in (*KINDS, *ASKED):
            await _met(workflow.execute_activity(refuse, args=[kind, secret], **_activity()), ActivityError)
        await _met(workflow.execute_activity(refuse_in_a_thread, args=[DETAILS, secret], **_activity()), ActivityError)
        await _met(
            workflow.execute_local_activity(refuse, args=[DETAILS, secret], **_activity()),
            ActivityError,
        )
        others = workflow.execute_activity(leave_it_to_others, activity_id="others", **_activity())
        await _met(others, ActivityError)
        await _met(workflow.execute_child_workflow(Child.run, secret), ChildWorkflowError)
        if endpoint:
            bank = workflow.create_nexus_client(service=Bank, endpoint=endpoint)
            for operation in (Bank.refuse, Bank.decline):
                await _met(bank.execute_operation(operation, [DETAILS, secret]), NexusOperationError)
        await workflow.wait_condition(lambda: self._done)
        raise UNRULY[DETAILS](secret)

    @workflow.update
    async def withdraw(self, kind: str, secret: str) -> None:
        await asyncio.sleep(0)
        raise UNRULY[kind](secret)

    @workflow.update
    def close(self, kind: str, secret: str) -> None:
        self._done = True

    @close.validator
    def may_close(self, kind: str, secret: str) -> None:
        if kind:
            raise UNRULY[kind](secret)

    @workflow.query
    def balance(self, kind: str, secret: str) -> None:
        raise UNRULY[kind](secret)


def _activity() -> Any:
    return {"start_to_close_timeout": _PATIENT, "retry_policy": _ONCE}


async def _met(awaitable: object, expected: type[FailureError]) -> None:
    try:
        await awaitable  # type: ignore[misc]
    except expected:
        return
    except FailureError as error:
        if type(error) is not ApplicationError:  # what a user's failure converter from scratch makes of all
            raise
        return
    raise RuntimeError("nothing was raised")


@workflow.defn
class NeverGetsOn:
    """Every task of it fails."""

    @workflow.run
    async def run(self, secret: str) -> None:
        raise UNRULY["text that raises"](secret)
