"""A workflow that uses every kind of user data, encrypted: all sides see the truth, the server nothing of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from devstack import TemporalServer
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import Worker

from envelope_codec.cli.demo.search import Needles
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.temporal.payload_walk import payloads_in
from envelope_codec.testing import FakeKms
from tests.support.all_data_workflow import (
    STACK_TRACE_MARK,
    STORED,
    UNSTORED,
    Activities,
    Child,
    Decline,
    Everything,
    Order,
    mark,
)
from tests.support.context_header import ContextHeader
from tests.support.server_records import Run, describe, pending_activity, query_result, runs
from tests.support.watch import watching

TELLING = {
    "temporalio.activity._handle_start_activity_task",
    "temporalio.worker._workflow_instance._run_top_level_workflow_function",
    "temporalio.worker._workflow_instance.run_update",
}
"""What of the SDK logs an error that users' code has raised, as docs/limitations.md says."""

WORKFLOWS = [Everything, Child, Decline]
STARTED = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
CANCEL_REQUESTED = PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED


class Journey:
    """One way through `Everything`: what the client does meanwhile, and what it checks on the way.

    Attributes:
        base: stands in every piece of user data.
        snapshots: what the server told of the workflow while it ran.
        queried: answers to queries, as they travel.
    """

    def __init__(self, client: Client, plain: Client, name: str, base: str) -> None:
        self.base = base
        self.snapshots: list[bytes] = []
        self.queried: list[Any] = []
        self._client = client
        self._plain = plain
        self._name = name
        self._activities = Activities()

    def mark(self, where: str) -> str:
        return mark(self.base, where)

    async def go(self) -> None:
        activities = self._activities
        async with Worker(
            self._client,
            task_queue=self._name,
            workflows=WORKFLOWS,
            activities=[activities.reply, activities.resume, activities.detached, activities.decline],
        ):
            handle = await self._client.start_workflow(
                Everything.run,
                Order(self.base, self.mark("workflow input")),
                id=self._name,
                task_queue=self._name,
                memo={"started": self.mark("memo")},
                static_summary=self.mark("summary"),
                static_details=self.mark("details"),
                start_signal="say",
                start_signal_args=[self.mark("start signal")],
            )
            await self._heartbeat()
            await self._detached(handle)
            await self._talk(handle)
            self._check(await handle.result())
            first_run = self._client.get_workflow_handle(self._name, run_id=handle.first_execution_run_id)
            assert await (await first_run.describe()).memo() == {
                "started": self.mark("memo"),
                "upserted": self.mark("upserted memo"),
            }
            await self._fail()
            await self._terminate()

    async def _heartbeat(self) -> None:
        await pending_activity(self._plain, self._name, lambda one: one.attempt == 2 and one.state == STARTED)
        description = await describe(self._plain, self._name)
        (pending,) = description.pending_activities
        assert pending.HasField("heartbeat_details")
        assert pending.HasField("last_failure")
        self.snapshots.append(description.SerializeToString())
        self._activities.go_on.set()

    async def _detached(self, handle: WorkflowHandle[Any, Any]) -> None:
        run_id = handle.first_execution_run_id
        for activity_id in ("completed", "failed", "cancelled"):
            await pending_activity(self._plain, self._name, partial(_has_started, activity_id))
            outside = self._client.get_async_activity_handle(
                workflow_id=self._name, run_id=run_id, activity_id=activity_id
            )
            if activity_id == "completed":
                await outside.heartbeat(self.mark("async heartbeat"))
                self.snapshots.append((await describe(self._plain, self._name)).SerializeToString())
                await outside.complete(self.mark("async result"))
            elif activity_id == "failed":
                await outside.fail(ApplicationError(self.mark("async failure")))
            else:
                await handle.signal(Everything.cancel)
                await pending_activity(self._plain, self._name, lambda one: one.state == CANCEL_REQUESTED)
                await outside.report_cancellation(self.mark("cancellation details"))

    async def _talk(self, handle: WorkflowHandle[Any, Any]) -> None:
        await handle.signal(Everything.say, self.mark("signal"))
        said = [self.mark("query"), self.mark("start signal"), self.mark("signal")]
        assert await handle.query(Everything.echo, self.mark("query")) == said
        (argument,) = await self._client.data_converter.encode([self.mark("query")])
        self.queried.append(await query_result(self._plain, self._name, "echo", argument))
        self.queried.append(await query_result(self._plain, self._name, "__stack_trace"))
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update(Everything.refuse, self.mark("refused update"))
        assert str(refused.value.cause) == self.mark("refused update")
        with pytest.raises(WorkflowUpdateFailedError) as failed:
            await handle.execute_update(Everything.change_in_vain, self.base)
        assert str(failed.value.cause) == self.mark("update failure")
        changed = await handle.execute_update(Everything.change, args=[self.base, self.mark("update input")])
        assert changed == self.mark("update result")

    def _check(self, seen: dict[str, str]) -> None:
        assert seen == {
            "input": self.mark("workflow input"),
            **{name: self.mark("header") for name in ("header", "activity header", "child header", "late header")},
            "memo": self.mark("memo"),
            "heard": self.mark("activity input"),
            "answer": self.mark("activity result"),
            "heartbeat": self.mark("heartbeat"),
            "async result": self.mark("async result"),
            "async failure": self.mark("async failure"),
            "cancellation": self.mark("cancellation details"),
            "failure": self.mark("failure message"),
            "failure details": self.mark("failure details"),
            "failure cause": f"ValueError: {self.mark('failure cause')}",
            "local input": self.mark("local input"),
            "local result": self.mark("local result"),
            "local failure": f"Declined: {self.mark('local failure')}",
            "child input": self.mark("child input"),
            "child signal": self.mark("child signal"),
            "child result": self.mark("child result"),
            "child failure": f"Sorry: {self.mark('child failure')}",
            "signals": f"{self.mark('start signal')}; {self.mark('signal')}",
            "updates": f"in vain; {self.mark('update input')}",
            "continued": self.mark("continued input"),
            "": self.mark("workflow result"),
        }

    async def _fail(self) -> None:
        with pytest.raises(WorkflowFailureError) as raised:
            await self._client.execute_workflow(
                Decline.run,
                args=[self.base, "workflow failure"],
                id=f"{self._name} declined",
                task_queue=self._name,
            )
        outer = raised.value.cause
        assert isinstance(outer, ApplicationError)
        assert (outer.message, outer.type) == (self.mark("workflow failure"), "Sorry")
        assert outer.details == (self.mark("workflow details"),)
        middle = outer.cause
        assert isinstance(middle, ActivityError)
        inner = middle.cause
        assert isinstance(inner, ApplicationError)
        assert (inner.message, inner.type) == (self.mark("failure message"), "Declined")
        assert inner.details == ({"why": self.mark("failure details")},)
        assert inner.failure is not None
        innermost = inner.cause
        assert isinstance(innermost, ApplicationError)
        assert (innermost.message, innermost.type) == (self.mark("failure cause"), "ValueError")
        assert innermost.failure is not None
        assert STACK_TRACE_MARK in inner.failure.stack_trace + innermost.failure.stack_trace

    async def _terminate(self) -> None:
        handle = await self._client.start_workflow(
            Child.run, args=[self.base, "for ever"], id=f"{self._name} terminated", task_queue=self._name
        )
        await handle.terminate(self.mark("termination details"), reason="the test is over")

    async def stored(self) -> list[Run]:
        """Every run: two of `Everything`, its children, the one that failed, the one that was terminated."""
        return await runs(self._plain, self._name, 6)


def user_payloads(event: HistoryEvent) -> Iterator[Payload]:
    """The payloads of an event, without what the SDK's core itself notes of a local activity: its type, its times."""
    notes = None
    if event.marker_recorded_event_attributes.marker_name == "core_local_activity":
        (notes,) = event.marker_recorded_event_attributes.details["data"].payloads
    yield from (payload for payload in payloads_in(event) if payload is not notes)


@pytest.fixture
def base() -> str:
    return f"marigold{uuid.uuid4().hex}"


async def test_user_data_arrives_everywhere_and_the_server_sees_none_of_it(
    connect: Any, plain: Client, temporal_server: TemporalServer, name: str, base: str, kms: FakeKms
) -> None:
    encrypting = await connect(kms, require_encryption=True, interceptors=[ContextHeader(mark(base, "header"))])
    journey = Journey(encrypting.client, plain, name, base)
    with watching(errors=False) as watch:
        await asyncio.wait_for(journey.go(), 120)
    assert watch.found() == []
    assert watch.telling(base.encode()) - TELLING == set()

    stored = await journey.stored()
    needles = Needles([journey.base, STACK_TRACE_MARK])
    for run in stored:
        assert needles.find_in(run.text()) == set()
    for snapshot in journey.snapshots:
        assert needles.find_in(snapshot) == set()
    assert temporal_server.db_path is not None
    assert Needles([journey.base]).find_in_database(temporal_server.db_path) == set()

    payloads = [payload for run in stored for event in run.history.events for payload in user_payloads(event)]
    assert len(payloads) > len(STORED)
    assert [payload for payload in payloads if not is_envelope(payload)] == []
    assert all(is_envelope(payload) for payload in journey.queried)


async def test_search_finds_each_piece_of_user_data_where_the_plugin_is_missing(
    plain: Client, temporal_server: TemporalServer, name: str, base: str
) -> None:
    """Guards the test above: what it searches is where the data would be."""
    config = plain.config()
    config["interceptors"] = [ContextHeader(mark(base, "header"))]
    journey = Journey(Client(**config), plain, name, base)
    await asyncio.wait_for(journey.go(), 120)

    marks = [journey.mark(where) for where in STORED if where not in UNSTORED]
    needles = Needles([*marks, STACK_TRACE_MARK])
    stored = await journey.stored()
    found = set[str]().union(*(needles.find_in(run.text()) for run in stored), *map(needles.find_in, journey.snapshots))
    assert found == {*marks, STACK_TRACE_MARK}
    assert temporal_server.db_path is not None
    assert len(Needles(marks).find_in_database(temporal_server.db_path)) > len(marks) / 2
    assert not any(is_envelope(payload) for payload in journey.queried)


def _has_started(activity_id: str, activity: PendingActivityInfo) -> bool:
    return activity.activity_id == activity_id and activity.state == STARTED
