"""Activities that others complete, by their task token: the SDK gives the codec no context there."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import cast

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutError
from temporalio.worker import Worker
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from temporalio.api.enums.v1 import PendingActivityState

    from tests.support.server_records import describe, pending_activity
    from tests.support.surface_marks import mark
    from tests.support.surface_walk import Corner, Walk

_FATES = ("completed", "failed", "cancelled", "timed out")


class _Tokens:
    """Has the task token of each activity that waits for somebody to end it."""

    def __init__(self) -> None:
        self._tokens: dict[str, asyncio.Future[bytes]] = {fate: asyncio.Future() for fate in _FATES}

    def of(self, fate: str) -> asyncio.Future[bytes]:
        return self._tokens[fate]

    @activity.defn(name="PoppyDetached")
    async def wait(self, secret: str, fate: str) -> str:
        if fate == "timed out":
            activity.heartbeat(mark(secret, "the last heartbeat before a timeout"))
        self._tokens[fate].set_result(activity.info().task_token)
        activity.raise_complete_async()


@workflow.defn(name="PoppyDelegator")
class Delegator:
    @workflow.run
    async def run(self, secret: str, public: str) -> list[str]:
        activities = {
            fate: workflow.start_activity_method(
                _Tokens.wait,
                args=[secret, fate],
                activity_id=f"{mark(public, 'the id of an activity')} {fate}",
                summary=mark(secret, "the summary of an activity"),
                start_to_close_timeout=timedelta(seconds=60),
                heartbeat_timeout=timedelta(seconds=1 if fate == "timed out" else 60),
                cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                retry_policy=RetryPolicy(maximum_attempts=1),
            )
            for fate in _FATES
        }
        seen = [await activities["completed"]]
        try:
            await activities["failed"]
        except ActivityError as error:
            cause = cast(ApplicationError, error.cause)
            seen += [cause.message, *cause.details, str(cause.type)]
        activities["cancelled"].cancel()
        try:
            await activities["cancelled"]
        except ActivityError as error:
            seen += cast(CancelledError, error.cause).details
        try:
            await activities["timed out"]
        except ActivityError as error:
            seen += cast(TimeoutError, error.cause).last_heartbeat_details
        return seen


async def _walk(walk: Walk) -> None:
    client, name, tokens = walk.client, walk.name, _Tokens()
    async with Worker(client, task_queue=name, workflows=[Delegator], activities=[tokens.wait], max_cached_workflows=0):
        handle = await client.start_workflow(Delegator.run, args=[walk.secret, walk.public], id=name, task_queue=name)
        outside = client.get_async_activity_handle(task_token=await tokens.of("completed"))
        await outside.heartbeat(walk.hidden("a heartbeat by token"))
        walk.told.append(await describe(walk.plain, name))
        await outside.complete(walk.hidden("a result by token"))

        outside = client.get_async_activity_handle(task_token=await tokens.of("failed"))
        await outside.fail(
            ApplicationError(
                walk.hidden("a failure by token"),
                walk.hidden("the details of a failure by token"),
                type=walk.readable("the type of an error by token"),
            ),
            last_heartbeat_details=[walk.hidden("the last heartbeat of a failure by token")],
        )
        outside = client.get_async_activity_handle(task_token=await tokens.of("cancelled"))
        await pending_activity(walk.plain, name, lambda one: one.state == _CANCEL_REQUESTED)
        await outside.report_cancellation(walk.hidden("the details of a cancellation by token"))
        assert await handle.result() == [
            walk.hidden("a result by token"),
            walk.hidden("a failure by token"),
            walk.hidden("the details of a failure by token"),
            walk.readable("the type of an error by token"),
            walk.hidden("the details of a cancellation by token"),
            walk.hidden("the last heartbeat before a timeout"),
        ]
    await walk.keep_runs(1)


_CANCEL_REQUESTED = PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED

DETACHED = Corner(
    _walk,
    hidden=(
        *("the summary of an activity", "a heartbeat by token", "a result by token", "a failure by token"),
        *("the details of a failure by token", "the details of a cancellation by token"),
        "the last heartbeat before a timeout",
    ),
    readable=("the id of an activity", "the type of an error by token"),
    names=("PoppyDetached", "PoppyDelegator"),
    in_clear=frozenset({"search attribute"}),
)
