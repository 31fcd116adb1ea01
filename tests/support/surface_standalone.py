"""Activities that a client starts, without any workflow."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.workflowservice.v1 import DescribeActivityExecutionRequest
from temporalio.client import ActivityFailureError, ActivityHandle, PendingActivityState
from temporalio.common import RetryPolicy, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError, CancelledError, TerminatedError
from temporalio.worker import Worker

from tests.support.server_records import eventually
from tests.support.surface_header import received
from tests.support.surface_marks import mark
from tests.support.surface_walk import ATTRIBUTE, Corner, Walk, define_attribute

_TIMEOUT = timedelta(seconds=60)


class _Activities:
    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    @activity.defn(name="PoppyStandalone")
    async def resume(self, secret: str, text: str) -> list[str]:
        """The first attempt fails. The second waits, then tells what it has."""
        if activity.info().attempt == 1:
            activity.heartbeat(mark(secret, "a standalone heartbeat"))
            raise RuntimeError(mark(secret, "a standalone failure that is retried"))
        await self.go_on.wait()
        return [text, mark(secret, "a standalone result"), received(), *activity.info().heartbeat_details]

    @activity.defn
    async def decline(self, secret: str, public: str) -> None:
        raise ApplicationError(
            mark(secret, "a standalone failure"),
            mark(secret, "the details of a standalone failure"),
            type=mark(public, "the type of a standalone error"),
            non_retryable=True,
        )

    @activity.defn
    async def detached(self) -> str:
        activity.raise_complete_async()


async def _walk(walk: Walk) -> None:
    await define_attribute(walk.plain)
    client, name, activities = walk.client, walk.name, _Activities()
    async with Worker(client, task_queue=name, activities=[activities.resume, activities.decline, activities.detached]):
        await _resume(walk, activities)
        handle = await client.start_activity(
            activities.decline,
            args=[walk.secret, walk.public],
            id=f"{name} declined",
            task_queue=name,
            start_to_close_timeout=_TIMEOUT,
        )
        with pytest.raises(ActivityFailureError) as failed:
            await handle.result()
        error = failed.value.cause
        assert isinstance(error, ApplicationError)
        assert (error.message, error.type) == (
            walk.hidden("a standalone failure"),
            walk.readable("the type of a standalone error"),
        )
        assert error.details == (walk.hidden("the details of a standalone failure"),)
        await _keep(walk, handle)
        await _complete(walk, activities)
        await _end(walk, activities)


async def _resume(walk: Walk, activities: _Activities) -> None:
    client = walk.client
    handle = await client.start_activity(
        activities.resume,
        args=[walk.secret, walk.hidden("a standalone input")],
        id=f"{walk.name} {walk.readable('the id of a standalone activity')}",
        task_queue=walk.name,
        start_to_close_timeout=_TIMEOUT,
        retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=50)),
        summary=walk.hidden("the summary of a standalone activity"),
        search_attributes=TypedSearchAttributes(
            [SearchAttributePair(ATTRIBUTE, walk.readable("a search attribute of a standalone activity"))]
        ),
    )

    async def tried_again() -> bool:
        return (await handle.describe()).attempt == 2

    await eventually(tried_again, "the second attempt")
    description = await handle.describe(include_input=True, include_heartbeat_details=True, include_last_failure=True)
    assert await description.input() == [walk.secret, walk.hidden("a standalone input")]
    assert await description.heartbeat_details() == [walk.hidden("a standalone heartbeat")]
    last = await description.last_failure()
    assert isinstance(last, ApplicationError)
    assert last.message == walk.hidden("a standalone failure that is retried")
    await _keep(walk, handle)
    activities.go_on.set()
    assert await handle.result() == [
        walk.hidden("a standalone input"),
        walk.hidden("a standalone result"),
        walk.hidden("the header of a standalone activity"),
        walk.hidden("a standalone heartbeat"),
    ]
    await _keep(walk, handle)

    async def listed() -> bool:
        query = f"{ATTRIBUTE.name} = '{walk.readable('a search attribute of a standalone activity')}'"
        found = [one async for one in client.list_activities(query)]
        walk.told += [one.raw_info for one in found]
        return [one.activity_id for one in found] == [handle.id]

    await eventually(listed, "the activity in the list")


async def _detached(walk: Walk, activities: _Activities, fate: str) -> ActivityHandle[str]:
    """An activity that has begun, and that somebody else is to end."""
    handle = await walk.client.start_activity(
        activities.detached, id=f"{walk.name} {fate}", task_queue=walk.name, start_to_close_timeout=_TIMEOUT
    )

    async def begun() -> bool:
        return (await handle.describe()).run_state == PendingActivityState.STARTED

    await eventually(begun, "the activity")
    return handle


async def _complete(walk: Walk, activities: _Activities) -> None:
    handle = await _detached(walk, activities, "completed")
    outside = walk.client.get_async_activity_handle(activity_id=handle.id)
    await outside.heartbeat(walk.hidden("a standalone heartbeat by id"))
    await _keep(walk, handle)
    await outside.complete(walk.hidden("a standalone result by id"))
    assert await handle.result() == walk.hidden("a standalone result by id")
    await _keep(walk, handle)


async def _end(walk: Walk, activities: _Activities) -> None:
    handle = await _detached(walk, activities, "cancelled")
    await handle.cancel(reason=walk.readable("a reason to cancel a standalone activity"))
    outside = walk.client.get_async_activity_handle(activity_id=handle.id)
    await outside.report_cancellation(walk.hidden("the details of a standalone cancellation"))
    with pytest.raises(ActivityFailureError) as failed:
        await handle.result()
    error = failed.value.cause
    assert isinstance(error, CancelledError)
    assert list(error.details) == [walk.hidden("the details of a standalone cancellation")]
    await _keep(walk, handle)

    handle = await _detached(walk, activities, "terminated")
    await handle.terminate(reason=walk.readable("a reason to terminate a standalone activity"))
    with pytest.raises(ActivityFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, TerminatedError)
    await _keep(walk, handle)


async def _keep(walk: Walk, handle: ActivityHandle[Any]) -> None:
    walk.told.append(
        await walk.plain.workflow_service.describe_activity_execution(
            DescribeActivityExecutionRequest(
                namespace=walk.plain.namespace,
                activity_id=handle.id,
                run_id=handle.run_id or "",
                include_input=True,
                include_outcome=True,
                include_heartbeat_details=True,
                include_last_failure=True,
            )
        )
    )


STANDALONE = Corner(
    _walk,
    hidden=(
        *("a standalone input", "a standalone result", "the summary of a standalone activity"),
        *("a standalone heartbeat", "a standalone failure that is retried"),
        *("a standalone failure", "the details of a standalone failure"),
        *("a standalone heartbeat by id", "a standalone result by id", "the details of a standalone cancellation"),
    ),
    readable=(
        *("the id of a standalone activity", "a search attribute of a standalone activity"),
        *("the type of a standalone error", "a reason to cancel a standalone activity"),
        "a reason to terminate a standalone activity",
    ),
    names=("PoppyStandalone", "poppyAttribute"),
    in_clear=frozenset({"search attribute"}),
)
