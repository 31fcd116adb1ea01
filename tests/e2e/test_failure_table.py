"""The failure table: at each point at which a codec may raise, what Temporal does then, on the real server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import RawValue
from temporalio.service import RPCError

from tests.support.failing_codec import (
    CHANGED,
    CUT,
    NO_ANSWER,
    OLD_KEY_REFUSED,
    OLD_KEY_SILENT,
    REFUSAL,
    Fault,
    Stage,
    Told,
)
from tests.support.payload_points import SECRET
from tests.support.server_records import eventually

RUNNING = WorkflowExecutionStatus.RUNNING
COMPLETED = WorkflowExecutionStatus.COMPLETED
FAILED = WorkflowExecutionStatus.FAILED

ALL = (NO_ANSWER, REFUSAL)
OPENING = (NO_ANSWER, OLD_KEY_REFUSED, CHANGED)
OPENING_ALONE = (OLD_KEY_SILENT, OLD_KEY_REFUSED, CHANGED, CUT)


class Does(NamedTuple):
    """What Temporal does where the codec raises.

    Attributes:
        words: as they stand in docs/failures.md.
        text: what is told in clear, if nothing can be sealed; ``{}`` is the error's own text.
        unhealed: the workflow's end, if the fault lasts.
    """

    words: str
    text: str
    unhealed: WorkflowExecutionStatus = RUNNING


TASK = Does("the workflow task fails, and is tried again", "Failed encoding completion: {}")
ATTEMPT = Does(
    "the attempt fails before the code has run, and is followed by another", "Failed building exception result: {}"
)
AGAIN = Does("the code runs a second time", "Failed building exception result: {}")
ATTEMPT_LOCALLY = Does(ATTEMPT.words, "")
AGAIN_LOCALLY = Does(AGAIN.words, "")
CANCELLATION = Does("the activity fails for good, instead of being cancelled", "Failed building exception result: {}")
FOR_GOOD = Does("the activity fails for good", "", FAILED)
QUERY = Does("the query fails; the workflow takes no notice", "Failed encoding completion: {}", COMPLETED)
CALLER = Does("the error is raised to the caller; nothing is sent or lost", "{}", COMPLETED)


# Each scene brings the far codec to one point, while it fails, and returns what Temporal then tells.

# --- opening: by a worker, in a workflow task -------------------------------------------------------------------------


async def workflow_input(stage: Stage) -> Told:
    async with stage.failing():
        await stage.start("Hello")
        return await stage.failed_task()


async def input_of_a_child(stage: Stage) -> Told:
    async with stage.failing():
        await stage.start_passing("child")
        return await stage.failed_task(" child")


async def input_of_a_next_run(stage: Stage) -> Told:
    async with stage.failing():
        await stage.start_passing("next run")
        return await stage.failed_task()


async def result_of_an_activity(stage: Stage) -> Told:
    async with stage.failing():
        await stage.start("Employ")
        return await stage.failed_task()


async def signal(stage: Stage) -> Told:
    handle = await stage.start("Converse")
    await stage.idle()
    async with stage.failing():
        await handle.signal("say", RawValue(stage.payload))
        await handle.signal("end")
        return await stage.failed_task()


async def argument_of_an_update(stage: Stage) -> Told:
    return await _update(stage, "change", RawValue(stage.payload))


async def argument_of_a_query(stage: Stage) -> Told:
    return await _query(stage, "repeat", RawValue(stage.payload))


# --- opening: by a worker, for an activity or a Nexus operation; by a client ------------------------------------------


async def input_of_an_activity(stage: Stage) -> Told:
    async with stage.failing():
        await stage.start_passing("echo")
        return await stage.failed_attempt()


async def heartbeat_details(stage: Stage) -> Told:
    """Of an attempt that has failed: the next one is given them."""
    handle = await stage.start_passing("resume")
    await stage.code.begun.wait()
    async with stage.failing():
        outside = stage.plain.get_async_activity_handle(
            workflow_id=handle.id, run_id=handle.first_execution_run_id, activity_id="it"
        )
        await outside.heartbeat(RawValue(stage.payload))
        stage.code.go_on.set()
        return await (stage.failed_activity() if stage.fault.seals else stage.failed_attempt(2))


async def input_of_a_nexus_operation(stage: Stage) -> Told:
    async with stage.failing():
        await stage.start_calling("echo")
        return await stage.failed_operation()


async def result_for_a_client(stage: Stage) -> Told:
    passing = await stage.start_passing("back", result_type=RawValue)
    await passing.result()
    async with stage.failing():
        return await stage.raised(stage.handle(stage.far).result())


async def memo(stage: Stage) -> Told:
    await stage.start_passing("back", memo={"note": RawValue(stage.payload)})
    description = await stage.handle(stage.far).describe()
    async with stage.failing():
        told = await stage.raised(description.memo())
    if stage.fault.heals:
        assert await stage.served(description.memo) == {"note": SECRET}
    return told


# --- sealing: by a worker, in a workflow task -------------------------------------------------------------------------


async def result_of_a_workflow(stage: Stage) -> Told:
    async with stage.failing():
        await stage.start("Tell")
        return await stage.failed_task()


async def input_for_a_child(stage: Stage) -> Told:
    async with stage.failing():
        await stage.start("Beget")
        return await stage.failed_task()


async def input_for_the_next_run(stage: Stage) -> Told:
    async with stage.failing():
        await stage.start("GoOn")
        return await stage.failed_task()


async def input_for_a_local_activity(stage: Stage) -> Told:
    handle = await stage.start("Alone")
    await stage.idle()
    async with stage.failing():
        await handle.signal("echo")
        return await stage.failed_task()


async def result_of_an_update(stage: Stage) -> Told:
    return await _update(stage, "give")


async def result_of_a_query(stage: Stage) -> Told:
    return await _query(stage, "tell")


# --- sealing: by a worker, for an activity or a Nexus operation; by a client ------------------------------------------


async def start_of_an_activity(stage: Stage) -> Told:
    stage.code.go_on.set()
    async with stage.failing():
        await stage.start_passing("produce")
        return await stage.failed_attempt()


async def start_of_a_local_activity(stage: Stage) -> Told:
    stage.code.go_on.set()
    handle = await stage.start("Alone")
    await stage.idle()
    async with stage.failing():
        await handle.signal("produce")
        return await stage.failed_seal()


async def start_of_a_nexus_operation(stage: Stage) -> Told:
    stage.code.go_on.set()
    async with stage.failing():
        await stage.start_calling("produce")
        return await stage.failed_operation()


async def result_from_an_activity(stage: Stage) -> Told:
    return await _run(stage, "produce")


async def failure_from_an_activity(stage: Stage) -> Told:
    return await _run(stage, "fail")


async def heartbeat(stage: Stage) -> Told:
    return await _run(stage, "beat")


async def cancellation_of_an_activity(stage: Stage) -> Told:
    handle = await stage.start_passing("end")
    await eventually(lambda: _true(stage.code.runs), "the activity's start")
    await handle.cancel()
    await stage.code.begun.wait()
    async with stage.failing():
        stage.code.go_on.set()
        return await stage.failed_activity()


async def result_from_a_local_activity(stage: Stage) -> Told:
    handle = await stage.start("Alone")
    await stage.idle()
    await handle.signal("produce")
    await stage.code.begun.wait()
    async with stage.failing():
        stage.code.go_on.set()
        return await stage.failed_seal()


async def result_from_a_nexus_operation(stage: Stage) -> Told:
    await stage.start_calling("produce")
    await stage.code.begun.wait()
    async with stage.failing():
        stage.code.go_on.set()
        return await stage.failed_operation()


async def input_from_a_client(stage: Stage) -> Told:
    async with stage.failing():
        told = await stage.raised(stage.start_by(stage.far))
        with pytest.raises(RPCError, match="not found"):
            await stage.handle(stage.plain).describe()
    await stage.served(lambda: stage.start_by(stage.far))
    return told


async def completion_from_a_client(stage: Stage) -> Told:
    """Of an activity that completes asynchronously."""
    handle = await stage.start_passing("leave")
    await stage.code.begun.wait()
    outside = stage.far.get_async_activity_handle(
        workflow_id=handle.id, run_id=handle.first_execution_run_id, activity_id="it"
    )
    async with stage.failing():
        told = await stage.raised(outside.complete(SECRET))
    await stage.served(lambda: outside.complete(SECRET))
    return told


async def _update(stage: Stage, update: str, *argument: RawValue) -> Told:
    handle = await stage.start("Converse")
    await stage.idle()
    async with stage.failing():
        answer = asyncio.ensure_future(handle.execute_update(update, *argument, result_type=RawValue))
        told = await stage.failed_task()
        assert not answer.done(), "the caller waits"
    if stage.fault.heals:
        result = await asyncio.wait_for(answer, 60)
        assert await stage.near.data_converter.decode([result.payload]) == [SECRET]
        await stage.say_and_end()
    answer.cancel()
    return told


async def _query(stage: Stage, query: str, *argument: RawValue) -> Told:
    handle = await stage.start("Converse")
    await stage.idle()
    async with stage.failing():
        told = await stage.raised(handle.query(query, *argument))
    if stage.fault.heals:
        result = await stage.served(lambda: handle.query(query, *argument, result_type=RawValue))
        assert await stage.near.data_converter.decode([result.payload]) == [SECRET]
    await stage.say_and_end()
    return told


async def _run(stage: Stage, activity: str) -> Told:
    await stage.start_passing(activity)
    await stage.code.begun.wait()
    async with stage.failing():
        stage.code.go_on.set()
        return await stage.failed_attempt(2 if stage.fault is REFUSAL else 1)  # of which the second runs no code


async def _true(fact: object) -> bool | None:
    return bool(fact) or None


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        point: what is opened or sealed.
        operation: ``"open"`` or ``"seal"``.
        scene: brings the codec there.
        does: what Temporal does.
        faults: with which it is tried.
        runs: how often the code of the activity or operation has run when the fault is over, and in the end.
        end: how the workflow ends, if the fault is over some time.
    """

    point: str
    operation: str
    scene: Callable[[Stage], Awaitable[Told]]
    does: Does
    faults: Sequence[Fault]
    runs: tuple[int, int] = (0, 0)
    end: WorkflowExecutionStatus = COMPLETED


TABLE = [
    Row("input of a workflow", "open", workflow_input, TASK, OPENING),
    Row("input of a child workflow", "open", input_of_a_child, TASK, OPENING),
    Row("input of a continued workflow", "open", input_of_a_next_run, TASK, OPENING),
    Row("result of an activity, in its workflow", "open", result_of_an_activity, TASK, OPENING),
    Row("signal", "open", signal, TASK, OPENING),
    Row("argument of an update", "open", argument_of_an_update, TASK, OPENING),
    Row("argument of a query", "open", argument_of_a_query, QUERY, OPENING),
    Row("input of an activity", "open", input_of_an_activity, ATTEMPT, OPENING, (0, 1)),
    Row("heartbeat details, by the next attempt", "open", heartbeat_details, FOR_GOOD, OPENING_ALONE, (1, 1), FAILED),
    Row("the same, if nothing can be sealed either", "open", heartbeat_details, ATTEMPT, ALL, (1, 2)),
    Row("input of a Nexus operation", "open", input_of_a_nexus_operation, ATTEMPT, OPENING, (0, 1)),
    Row("result of a workflow, by a client", "open", result_for_a_client, CALLER, OPENING),
    Row("memo, by a client", "open", memo, CALLER, OPENING),
    Row("result of a workflow", "seal", result_of_a_workflow, TASK, ALL),
    Row("input of a child workflow, by its parent", "seal", input_for_a_child, TASK, ALL),
    Row("input of the next run", "seal", input_for_the_next_run, TASK, ALL),
    Row("input of a local activity", "seal", input_for_a_local_activity, TASK, ALL, (0, 1)),
    Row("result of an update", "seal", result_of_an_update, TASK, ALL),
    Row("result of a query", "seal", result_of_a_query, QUERY, ALL),
    Row("start of an activity", "seal", start_of_an_activity, ATTEMPT, ALL, (0, 1)),
    Row("start of a local activity", "seal", start_of_a_local_activity, ATTEMPT_LOCALLY, ALL, (0, 1)),
    Row("start of a Nexus operation", "seal", start_of_a_nexus_operation, ATTEMPT, ALL, (0, 1)),
    Row("result of an activity", "seal", result_from_an_activity, AGAIN, ALL, (1, 2)),
    Row("failure of an activity, even one not to be tried again", "seal", failure_from_an_activity, AGAIN, ALL, (1, 2)),
    Row("heartbeat", "seal", heartbeat, AGAIN, ALL, (1, 2)),
    Row("cancellation of an activity", "seal", cancellation_of_an_activity, CANCELLATION, ALL, (1, 1), FAILED),
    Row("result of a local activity", "seal", result_from_a_local_activity, AGAIN_LOCALLY, ALL, (1, 2)),
    Row("result of a Nexus operation", "seal", result_from_a_nexus_operation, AGAIN, ALL, (1, 2)),
    Row("whatever a client sends", "seal", input_from_a_client, CALLER, ALL),
    Row("asynchronous completion of an activity", "seal", completion_from_a_client, CALLER, ALL, (1, 1)),
]


def test_the_page_has_this_table() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/failures.md").read_text("utf-8")
    told = {}
    for operation, heading in (("open", "### Opening"), ("seal", "### Sealing")):
        section = page.split(heading)[1].split("\n#")[0]
        for line in re.findall(r"^\| (.*) \|$", section, re.MULTILINE)[1:]:
            what, does, says, _ = (cell.strip() for cell in line.split("|"))
            told[operation, what] = does.strip("*"), says.strip("`")
    assert told == {(row.operation, row.point): (row.does.words, row.does.text.replace("{}", "…")) for row in TABLE}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.operation} {row.point}")
async def test_what_temporal_does_where_the_codec_raises(row: Row, connect: Any, plain: Client, name: str) -> None:
    """With every fault at once, for that saves time."""
    stages = [Stage(fault, plain, f"{name}-{number}") for number, fault in enumerate(row.faults)]
    for outcome in await asyncio.gather(*(play(row, stage, connect) for stage in stages), return_exceptions=True):
        if outcome is not None:
            raise outcome


async def play(row: Row, stage: Stage, connect: Any) -> None:
    await stage.set(connect)
    fault = stage.fault
    async with stage.workers():
        told = await row.scene(stage)
        expected_end = row.end if fault.heals else row.does.unhealed
        end = await stage.end(expected_end)
        await stage.nothing_in_clear()

    runs = row.runs if fault.heals else (row.runs[0], row.runs[0])
    assert (fault.name, end, stage.meanwhile, stage.code.runs) == (fault.name, expected_end, *runs)
    assert stage.events.counts[row.operation, fault.error.__name__] > 0, fault.name
    if row.does is CALLER:
        assert told == Told(fault.reason, fault.error.__name__), fault.name
    elif row.does is QUERY:
        text = "Encoded failure" if fault.seals else row.does.text.format(fault.reason)
        assert told.text == text, fault.name
    elif fault.seals:
        assert told == Told("Encoded failure", fault.error.__name__, fault.reason), fault.name
    else:
        assert told.text == row.does.text.format(fault.reason), fault.name
