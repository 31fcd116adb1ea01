"""Every corner of Temporal: all sides see the truth, and the server nothing but what the README says it can read."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from devstack import TemporalServer
from temporalio.client import (
    Client,
    NexusClient,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.cli.demo.search import Needles
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.testing import FakeKms
from tests.e2e.test_workflows import Journey
from tests.support.context_header import ContextHeader
from tests.support.grpc_recorder import GrpcRecorder
from tests.support.harness_stores import Stores
from tests.support.server_records import events, register
from tests.support.surface_detached import DETACHED
from tests.support.surface_header import SurfaceHeader
from tests.support.surface_messages import MESSAGES
from tests.support.surface_nexus import NEXUS_HIDDEN, NEXUS_NAMES, NEXUS_READABLE, make_endpoint, walk_nexus
from tests.support.surface_permitted import nexus_sides
from tests.support.surface_rows import PAGE, read_page, rows
from tests.support.surface_runs import RUNS
from tests.support.surface_schedules import SCHEDULES
from tests.support.surface_seen import Seen, nothing_seen
from tests.support.surface_standalone import STANDALONE
from tests.support.surface_streams import STREAMS
from tests.support.surface_walk import Corner, Walk, kinds_in_clear, marks_found

CORNERS = {
    "messages": MESSAGES,
    "schedules": SCHEDULES,
    "detached activities": DETACHED,
    "standalone activities": STANDALONE,
    "runs": RUNS,
    "streams": STREAMS,
}
SUMMARY_LIMIT = "limit.userMetadataSummarySize"
NEW_IN_TEMPORAL = {
    "activity.enableStandalone": "true",
    "nexusoperation.enableStandalone": "true",
    "history.enableSignalWithStartFromWorkflow": "true",
    "system.forceSearchAttributesCacheRefreshOnRead": "true",
    SUMMARY_LIMIT: "20000",
}
"""What the SDK can use and the dev server has switched off, and a limit that it sets too low."""

UNSEEN = {
    r".*eager_(workflow|activity)_task\..*": "the server starts nothing eagerly unless it is asked to",
    r".* activity_tasks\..*": "the same: activities that a worker gets with an answer never have heartbeats",
    r".*[ .]quer(y|ies)\.(header|query_args)": "queries with a workflow task: the server sends them apart, as here",
    r"RespondWorkflowTaskCompletedRequest query_results\..*": "the answers to these",
    r"RespondQueryTaskCompletedRequest failure": "the SDK's core sends its text alone, which is hidden",
    r"(List(Archived|Closed|Open)|Scan)WorkflowExecutionsResponse .*": "older lists, which the SDK never asks for",
    r"HistoryEvent workflow_execution_update_(admitted|rejected)_event_attributes\..*": "servers write none by default",
    r"(ExecuteMultiOperation|PollWorkflowExecutionUpdate)Response .*outcome\.failure": "as that of an update alone",
    r"RespondActivityTaskFailedByIdRequest last_heartbeat_details": "as that by task token",
    r"Failure reset_workflow_failure_info\..*": "resets of servers of before",
    r"RespondNexusTask\w+ .*error\.failure": "for servers that take no failure of Temporal's",
    r".*(cancellation_info\.last_attempt_failure|cancel_request_failed_\w+\.failure)": "no handler refuses",
    r"HistoryEvent nexus_operation_canceled_event_attributes\.failure": "as that of an operation that failed",
    r"HistoryEvent \w+_continued_as_new_event_attributes\.last_completion_result": "the server copies it",
}
"""Rows that are sealed in which no test has anything, and why. Patterns of a message and a way."""

ALSO_IN_CLEAR = {
    "Command record_marker_command_attributes.details",  # the SDK's core: patches, type and times of local activities
    "HistoryEvent marker_recorded_event_attributes.details",
    "Command schedule_nexus_operation_command_attributes.input",  # to the system's endpoint: sealed inside
    "HistoryEvent nexus_operation_scheduled_event_attributes.input",
    "HistoryEvent nexus_operation_completed_event_attributes.result",  # its answer
    "HistoryEvent workflow_execution_started_event_attributes.input",  # of the server's own workflow of a schedule
    "HistoryEvent workflow_execution_started_event_attributes.memo",
    "HistoryEvent workflow_execution_signaled_event_attributes.input",
    "HistoryEvent workflow_properties_modified_event_attributes.upserted_memo",
}
"""Rows that are sealed, in which what Temporal writes in clear itself stands as well."""


@pytest.fixture(scope="module")
def temporal_server(
    run_server: Callable[[TemporalServer], AbstractContextManager[TemporalServer]],
) -> Iterator[TemporalServer]:
    with run_server(TemporalServer(dynamic_config=NEW_IN_TEMPORAL)) as server:
        yield server


@pytest.fixture(scope="module")
def seen() -> Seen:
    """What stood where, in all tests that record what passes between client and server."""
    return nothing_seen()


@pytest.fixture
def recorder(temporal_server: TemporalServer, seen: Seen, request: pytest.FixtureRequest) -> Iterator[GrpcRecorder]:
    with GrpcRecorder(temporal_server.address) as recorder:
        yield recorder
    seen.add(request.node.name, recorder.calls)


@pytest.mark.parametrize("corner", CORNERS.values(), ids=CORNERS.keys())
async def test_temporal_reads_nothing_but_what_it_may(
    corner: Corner,
    connect: Any,
    recorder: GrpcRecorder,
    temporal_server: TemporalServer,
    name: str,
    kms: FakeKms,
) -> None:
    secret, public = _bases()
    settings = {"require_encryption": True, "interceptors": [SurfaceHeader(secret)], "address": recorder.address}
    client, _ = await connect(kms, **settings)
    walk = Walk(client, await Client.connect(recorder.address), name, secret, public)
    await asyncio.wait_for(corner.walk(walk), 60)
    _check(walk, corner, temporal_server)
    assert (kms.wraps, kms.unwraps) == (1, 1), "no workflow is cached, so each task replays all before it"


@pytest.mark.nightly
@pytest.mark.parametrize("corner", CORNERS.values(), ids=CORNERS.keys())
async def test_temporal_reads_nothing_but_what_it_may_where_all_is_stored(
    corner: Corner,
    connect: Any,
    plain: Client,
    temporal_server: TemporalServer,
    stores: Stores,
    name: str,
    kms: FakeKms,
) -> None:
    secret, public = _bases()
    stored = {"storage": await stores["file"].place(), "storage_threshold": 0}
    client, _ = await connect(kms, require_encryption=True, interceptors=[SurfaceHeader(secret)], **stored)
    walk = Walk(client, plain, name, secret, public)
    await asyncio.wait_for(corner.walk(walk), 60)
    _check(walk, corner._replace(in_clear=corner.in_clear | {"ExternalStorageReference"}), temporal_server)
    assert (kms.wraps, kms.unwraps) == (1, 1)


@pytest.mark.parametrize("corner", CORNERS.values(), ids=CORNERS.keys())
async def test_search_finds_every_mark_where_the_plugin_is_missing(
    corner: Corner, plain: Client, temporal_server: TemporalServer, name: str
) -> None:
    """Guards the test above: what it searches is where the data would be."""
    secret, public = _bases()
    config = plain.config()
    config["interceptors"] = [SurfaceHeader(secret)]
    walk = Walk(Client(**config), plain, name, secret, public)
    await asyncio.wait_for(corner.walk(walk), 60)
    _check_guard(walk, corner, temporal_server)


async def test_temporal_reads_nothing_of_nexus_operations_between_namespaces(
    connect: Any, recorder: GrpcRecorder, namespaces: tuple[Client, Client], temporal_server: TemporalServer, name: str
) -> None:
    calling, handling = namespaces
    caller, handler = nexus_sides(calling.namespace, FakeKms(), handling.namespace, FakeKms())
    client, _ = await connect(caller, namespace=calling.namespace, address=recorder.address)
    other, _ = await connect(handler, namespace=handling.namespace, address=recorder.address)
    calling, handling = [await Client.connect(recorder.address, namespace=one.namespace) for one in namespaces]
    walk = Walk(client, calling, name, *_bases())
    corner = _nexus(other, handling)
    await asyncio.wait_for(corner.walk(walk), 60)
    _check(walk, corner, temporal_server)


async def test_a_journey_through_workflows_is_recorded(
    connect: Any, recorder: GrpcRecorder, name: str, kms: FakeKms
) -> None:
    """What it checks itself is said in `test_workflows`."""
    header = ContextHeader("marigold in header")
    client, _ = await connect(kms, require_encryption=True, interceptors=[header], address=recorder.address)
    await asyncio.wait_for(Journey(client, await Client.connect(recorder.address), name, "marigold").go(), 120)
    await client.get_workflow_handle(name).fetch_history()
    described = {"memo": {"memo": "marigold"}, "static_summary": "marigold", "static_details": "marigold"}
    await client.start_workflow("Any", id=f"{name} alone", task_queue=name, **described)


def test_what_stood_where_is_what_the_page_says(seen: Seen) -> None:
    """Comes behind the tests that record: what they saw is compared with docs/temporal-surface.md."""
    if len(seen.tests) < len(CORNERS) + 2:
        pytest.skip("not all tests that record did run")
    page = read_page(PAGE.read_text("utf-8"))
    said = {row: page.verdict(row) or "" for row in rows() if not row.message.startswith("core.")}
    sealed = {row for row, verdict in said.items() if verdict.startswith("sealed")}
    unseen = {f"{row.message} {row.path}" for row in sealed - seen.sealed}
    explained = {one for one in unseen if any(re.fullmatch(pattern, one) for pattern in UNSEEN)}
    assert sorted(unseen - explained) == [], "have a test send it, or say in UNSEEN why none can"
    assert [pattern for pattern in UNSEEN if not any(re.fullmatch(pattern, one) for one in unseen)] == []
    assert {f"{row.message} {row.path}" for row in seen.clear & sealed} == ALSO_IN_CLEAR
    assert sorted(row for row in seen.any if said.get(row, "").startswith("not sent")) == []


async def test_search_finds_every_mark_of_nexus_operations_where_the_plugin_is_missing(
    namespaces: tuple[Client, Client], temporal_server: TemporalServer, name: str
) -> None:
    calling, handling = namespaces
    walk = Walk(calling, calling, name, *_bases())
    corner = _nexus(handling, handling)
    await asyncio.wait_for(corner.walk(walk), 60)
    _check_guard(walk, corner, temporal_server)


async def test_sealed_summary_of_what_stands_alone_is_larger_than_the_server_allows_by_default(
    connect: Any, run_server: Any, name: str, kms: FakeKms
) -> None:
    """Not so for workflows, schedules and what workflows start: see the corners above."""
    by_default = {**NEW_IN_TEMPORAL}
    del by_default[SUMMARY_LIMIT]
    with run_server(TemporalServer(dynamic_config=by_default)) as server:
        _, plugin = await connect(kms)
        client = await Client.connect(server.address, plugins=[plugin])
        await make_endpoint(client, f"endpoint-{name}", name)

        async def start_activity(summary: str | None) -> None:
            await client.start_activity(
                "any", id=name, task_queue=name, start_to_close_timeout=timedelta(seconds=60), summary=summary
            )

        async def start_operation(summary: str | None) -> None:
            operations: NexusClient[Any] = client.create_nexus_client("Any", f"endpoint-{name}")
            await operations.start_operation("any", "input", id=name, summary=summary)

        for start in (start_activity, start_operation):
            with pytest.raises(RPCError, match="summary exceeds size limit") as refused:
                await start("a summary")
            assert refused.value.status == RPCStatusCode.INVALID_ARGUMENT
            await start(None)


async def test_payload_objects_are_sealed_as_values_are(connect: Any, plain: Client, name: str, kms: FakeKms) -> None:
    """The SDK takes a `Payload` for encoded: in memos and schedules, and in a changed schedule's headers."""
    client, _ = await connect(kms, require_encryption=True)
    given = client.data_converter.payload_converter.to_payload("in clear")

    def change(found: ScheduleUpdateInput) -> ScheduleUpdate:
        action = found.description.schedule.action
        assert isinstance(action, ScheduleActionStartWorkflow)
        action.headers = {"header": given}
        return ScheduleUpdate(found.description.schedule)

    handle = await client.start_workflow("Any", given, id=name, task_queue=name, memo={"memo": given})
    started = (await events(plain, name))[0].workflow_execution_started_event_attributes
    assert is_envelope(started.input.payloads[0])
    assert is_envelope(started.memo.fields["memo"])
    assert await (await handle.describe()).memo() == {"memo": "in clear"}

    action = ScheduleActionStartWorkflow("Any", given, id=f"{name} scheduled", task_queue=name, memo={"memo": given})
    schedule = await client.create_schedule(name, Schedule(action=action, spec=ScheduleSpec()), memo={"own": given})
    first = (await plain.get_schedule_handle(name).describe()).raw_description
    assert all(map(is_envelope, [first.memo.fields["own"], *first.schedule.action.start_workflow.input.payloads]))
    await schedule.update(change)
    kept = (await plain.get_schedule_handle(name).describe()).raw_description.schedule.action.start_workflow
    assert kept.input == first.schedule.action.start_workflow.input, "envelopes are sent back as they are"
    assert kept.memo == first.schedule.action.start_workflow.memo
    assert await client.data_converter.decode([*kept.input.payloads, kept.header.fields["header"]]) == ["in clear"] * 2
    await schedule.delete()


@pytest.fixture
async def namespaces(plain: Client, temporal_server: TemporalServer, name: str) -> tuple[Client, Client]:
    """Plain clients of two new namespaces."""
    calling, handling = f"calling-{name}", f"handling-{name}"
    for namespace in (calling, handling):
        await register(plain, namespace)
    return (
        await Client.connect(temporal_server.address, namespace=calling),
        await Client.connect(temporal_server.address, namespace=handling),
    )


def _bases() -> tuple[str, str]:
    """What stands in all user data of a walk, and in whatever else Temporal may read."""
    return f"marigold{uuid.uuid4().hex}", f"poppy{uuid.uuid4().hex}"


def _nexus(other: Client, plain: Client) -> Corner:
    return Corner(
        lambda walk: walk_nexus(walk, other, plain),
        hidden=NEXUS_HIDDEN,
        readable=NEXUS_READABLE,
        names=NEXUS_NAMES,
        in_clear=frozenset({"search attribute"}),
    )


def _check(walk: Walk, corner: Corner, server: TemporalServer) -> None:
    hidden, readable = marks_found(walk, corner)
    assert hidden == set()
    assert readable == {*corner.readable, *corner.names}
    assert kinds_in_clear(walk.told) == corner.in_clear
    secret = Needles([walk.secret])
    assert not walk.found(secret)
    assert not secret.find_in_database(_database(server))


def _check_guard(walk: Walk, corner: Corner, server: TemporalServer) -> None:
    hidden, readable = marks_found(walk, corner)
    assert hidden == set(corner.hidden)
    assert readable == {*corner.readable, *corner.names}
    assert Needles([walk.secret]).find_in_database(_database(server))


def _database(server: TemporalServer) -> Path:
    assert server.db_path is not None
    return server.db_path
