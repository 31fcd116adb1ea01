"""The calls of a client are walked once: each part is given to whoever changes it, and what the caller has stays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import pytest
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    ScheduleUpdate,
)

from envelope_codec.temporal.client_calls import ClientCalls, find_client

ACTION = ScheduleActionStartWorkflow("W", id="w", task_queue="q", memo={"field": "given"})
SCHEDULE = Schedule(action=ACTION, spec=ScheduleSpec())


@dataclasses.dataclass
class Call:
    """What these tests need of the input of a call of the SDK's client."""

    memo: Any = None
    schedule: Any = None
    start_workflow_input: Any = None
    updater: Any = None


class Last(OutboundInterceptor):
    """Where the client would send."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def start_workflow(self, input: Any) -> Any:
        self.sent.append(input)
        return "started"

    async def start_update_with_start_workflow(self, input: Any) -> Any:
        self.sent.append(input)
        return "updated"

    async def create_schedule(self, input: Any) -> Any:
        self.sent.append(input)
        return "created"

    async def update_schedule(self, input: Any) -> None:
        update = await input.updater(None)
        self.sent.append(update)


class Changing(ClientCalls):
    """Changes every part."""

    async def change_start(self, start: Any) -> Any:
        return dataclasses.replace(start, memo="changed start")

    async def change_schedule_memo(self, memo: Any) -> Any:
        return "changed memo"

    async def change_action(self, action: ScheduleActionStartWorkflow) -> ScheduleActionStartWorkflow:
        return dataclasses.replace(action, id="changed action")


async def test_nothing_changes_by_default() -> None:
    last = Last()
    calls: Any = ClientCalls(last)
    start = Call(memo={"field": "given"})
    assert await calls.start_workflow(cast(Any, start)) == "started"
    assert await calls.start_update_with_start_workflow(cast(Any, Call(start_workflow_input=start))) == "updated"
    assert await calls.create_schedule(cast(Any, Call(memo={"m": 1}, schedule=SCHEDULE))) == "created"
    await calls.update_schedule(cast(Any, Call(updater=lambda given: ScheduleUpdate(schedule=SCHEDULE))))
    assert last.sent == [
        start,
        Call(start_workflow_input=start),
        Call(memo={"m": 1}, schedule=SCHEDULE),
        ScheduleUpdate(schedule=SCHEDULE),
    ]


async def test_every_part_can_be_changed_and_what_the_caller_has_stays() -> None:
    last = Last()
    calls: Any = Changing(last)
    start, outer, create = Call(memo="given"), Call(start_workflow_input=Call(memo="given")), Call(schedule=SCHEDULE)
    assert await calls.start_workflow(cast(Any, start)) == "started"
    assert await calls.start_update_with_start_workflow(cast(Any, outer)) == "updated"
    assert await calls.create_schedule(cast(Any, create)) == "created"
    assert last.sent[0].memo == last.sent[1].start_workflow_input.memo == "changed start"
    assert last.sent[2].memo == "changed memo"
    assert last.sent[2].schedule.action.id == "changed action"
    assert (start.memo, outer.start_workflow_input.memo, create.memo) == ("given", "given", None)
    assert ACTION.id == "w"


def update(given: Any) -> ScheduleUpdate:
    return ScheduleUpdate(schedule=SCHEDULE)


async def update_later(given: Any) -> ScheduleUpdate:
    return ScheduleUpdate(schedule=SCHEDULE)


@pytest.mark.parametrize("updater", [update, update_later])
async def test_an_updated_schedule_is_changed(updater: Callable[[Any], Any]) -> None:
    last = Last()
    await Changing(last).update_schedule(cast(Any, Call(updater=updater)))
    assert last.sent[0].schedule.action.id == "changed action"


async def test_an_updater_that_wants_no_update_gets_none() -> None:
    last = Last()
    await Changing(last).update_schedule(cast(Any, Call(updater=lambda given: None)))
    assert last.sent == [None]


async def test_an_action_of_another_kind_is_left_to_the_sdk() -> None:
    last, other = Last(), Schedule(action=cast(Any, "another kind"), spec=ScheduleSpec())
    await Changing(last).create_schedule(cast(Any, Call(schedule=other)))
    assert last.sent[0].schedule is other


async def test_the_client_is_found_behind_any_number_of_interceptors() -> None:
    class Found(Interceptor):
        def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
            found.append(find_client(next))
            return OutboundInterceptor(next)

    found: list[Any] = []
    client = await Client.connect("127.0.0.1:1", lazy=True, interceptors=[Found(), Found(), Found()])
    assert found == [client, client, client]


def test_there_may_be_no_client() -> None:
    endless = OutboundInterceptor(cast(Any, None))
    assert find_client(endless) is None
    endless.next = endless
    assert find_client(endless) is None
