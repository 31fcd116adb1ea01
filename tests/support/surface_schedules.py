"""Schedules: what they start, what they remember of it, and what they tell."""

from __future__ import annotations

from contextlib import suppress

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleCalendarSpec,
    ScheduleHandle,
    ScheduleListDescription,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
    WorkflowFailureError,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    import pytest

    from tests.support.server_records import events, eventually
    from tests.support.surface_header import NAME as HEADER_NAME
    from tests.support.surface_header import started_with
    from tests.support.surface_marks import mark
    from tests.support.surface_walk import ATTRIBUTE, Corner, Walk, define_attribute


@workflow.defn(name="PoppyScheduled")
class Scheduled:
    """The first run returns, the second fails, the third tells what it knows of both."""

    @workflow.run
    async def run(self, secret: str, text: str) -> list[str]:
        if not workflow.has_last_completion_result():
            return [
                text,
                mark(secret, "a scheduled result"),
                started_with(),
                workflow.memo_value("poppy-scheduled-memo"),
            ]
        last: list[str] | None = workflow.get_last_completion_result(list)
        failure = workflow.get_last_failure()
        if failure is None:
            raise ApplicationError(mark(secret, "a scheduled failure"), last)
        assert last is not None
        return [text, str(failure), *last]


async def _walk(walk: Walk) -> None:
    await define_attribute(walk.plain)
    client, name = walk.client, walk.name
    action = ScheduleActionStartWorkflow(
        Scheduled.run,
        args=[walk.secret, walk.hidden("a schedule's input")],
        id=f"{name} {walk.readable('the id of scheduled workflows')}",
        task_queue=name,
        memo={"poppy-scheduled-memo": walk.hidden("the memo of scheduled workflows")},
        static_summary=walk.hidden("the summary of scheduled workflows"),
        static_details=walk.hidden("the details of scheduled workflows"),
        typed_search_attributes=TypedSearchAttributes(
            [SearchAttributePair(ATTRIBUTE, walk.readable("a search attribute of scheduled workflows"))]
        ),
    )
    never = ScheduleCalendarSpec(year=[ScheduleRange(2099)], comment=walk.readable("a comment on a calendar"))
    async with Worker(client, task_queue=name, workflows=[Scheduled], max_cached_workflows=0):
        handle = await client.create_schedule(
            f"{name} {walk.readable('the id of a schedule')}",
            Schedule(
                action=action,
                spec=ScheduleSpec(calendars=[never]),
                policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.BUFFER_ALL),
                state=ScheduleState(note=walk.readable("a note")),
            ),
            memo={"poppy-schedule-memo": walk.hidden("a schedule's memo")},
            search_attributes=TypedSearchAttributes(
                [SearchAttributePair(ATTRIBUTE, walk.readable("a search attribute of a schedule"))]
            ),
        )
        await _describe(walk, handle, "a schedule's input")
        first = await _next_run(walk, handle, 1)
        assert first == [
            walk.hidden("a schedule's input"),
            walk.hidden("a scheduled result"),
            walk.hidden("the header of a schedule"),
            walk.hidden("the memo of scheduled workflows"),
        ]
        with pytest.raises(WorkflowFailureError) as failed:
            await _next_run(walk, handle, 2)
        assert isinstance(failed.value.cause, ApplicationError)
        assert failed.value.cause.message == walk.hidden("a scheduled failure")
        assert failed.value.cause.details == (first,)
        await handle.update(lambda found: _change(walk, found))
        await _describe(walk, handle, "a changed schedule's input")
        assert await _next_run(walk, handle, 3) == [
            walk.hidden("a changed schedule's input"),
            walk.hidden("a scheduled failure"),
            *first,
        ]
    await handle.pause(note=walk.readable("a note on a pause"))
    await walk.keep_runs(3)
    # The server may run a schedule as a workflow of its own, in the same namespace.
    with suppress(RPCError):
        walk.own += await events(walk.plain, f"temporal-sys-scheduler:{handle.id}")
    walk.told.append((await walk.plain.get_schedule_handle(handle.id).describe()).raw_description)
    await handle.delete()


async def _next_run(walk: Walk, handle: ScheduleHandle, number: int) -> list[str]:
    await handle.trigger()

    async def started() -> str | None:
        ran = (await handle.describe()).info.recent_actions
        if len(ran) < number:
            return None
        execution = ran[-1].action
        assert isinstance(execution, ScheduleActionExecutionStartWorkflow)
        return execution.workflow_id

    workflow_id = await eventually(started, f"run {number} of the schedule")
    run = walk.client.get_workflow_handle(workflow_id, result_type=list[str])
    description = await run.describe()
    assert await description.memo() == {"poppy-scheduled-memo": walk.hidden("the memo of scheduled workflows")}
    assert await description.static_summary() == walk.hidden("the summary of scheduled workflows")
    assert await description.static_details() == walk.hidden("the details of scheduled workflows")
    result: list[str] = await run.result()
    return result


async def _describe(walk: Walk, handle: ScheduleHandle, text: str) -> None:
    client = walk.client
    description = await handle.describe()
    assert await description.memo() == {"poppy-schedule-memo": walk.hidden("a schedule's memo")}
    action = description.schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)
    assert await client.data_converter.decode(action.args) == [walk.secret, walk.hidden(text)]
    assert isinstance(action.static_summary, Payload)
    assert await client.data_converter.decode([action.static_summary]) == [
        walk.hidden("the summary of scheduled workflows")
    ]
    walk.told.append((await walk.plain.get_schedule_handle(handle.id).describe()).raw_description)

    async def listed() -> ScheduleListDescription | None:
        return await anext((one async for one in await client.list_schedules() if one.id == handle.id), None)

    entry = await eventually(listed, "the schedule in the list")
    assert await entry.memo() == {"poppy-schedule-memo": walk.hidden("a schedule's memo")}
    walk.told.append(entry.raw_entry)


def _change(walk: Walk, found: ScheduleUpdateInput) -> ScheduleUpdate:
    schedule = found.description.schedule
    assert isinstance(schedule.action, ScheduleActionStartWorkflow)
    schedule.action.args = [schedule.action.args[0], walk.hidden("a changed schedule's input")]
    schedule.state.note = walk.readable("a changed note")
    return ScheduleUpdate(schedule=schedule)


SCHEDULES = Corner(
    _walk,
    hidden=(
        *("a schedule's input", "a schedule's memo", "a changed schedule's input", "the header of a schedule"),
        *(
            "the memo of scheduled workflows",
            "the summary of scheduled workflows",
            "the details of scheduled workflows",
        ),
        *("a scheduled result", "a scheduled failure"),
    ),
    readable=(
        *("the id of a schedule", "the id of scheduled workflows", "a note", "a changed note", "a note on a pause"),
        *("a comment on a calendar", "a search attribute of a schedule", "a search attribute of scheduled workflows"),
    ),
    names=("PoppyScheduled", "poppyAttribute", "poppy-schedule-memo", "poppy-scheduled-memo", HEADER_NAME),
    in_clear=frozenset({"search attribute"}),
)
