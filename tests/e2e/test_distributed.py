"""``envelope-codec audit --distributed`` and its workers on the real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from devstack import TemporalServer
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.audit import course, window
from envelope_codec.cli.audit.checkpoint import Checkpoint
from envelope_codec.cli.audit.distribution import Audited, Distribution, audit_by_workers
from envelope_codec.cli.audit.survey import run_audit
from envelope_codec.cli.audit.tally import to_document
from envelope_codec.cli.audit.window import Part
from envelope_codec.cli.audit.workflow import AuditWorkflow
from envelope_codec.cli.connection import Connection
from envelope_codec.cli.distributed.served import Offer
from envelope_codec.cli.worker.command import make_worker, offered
from envelope_codec.store import parse_store_url
from envelope_codec.temporal.payload_walk import walk
from tests.support.distributed_audit import Place, audit_meanwhile, make_workflows, until_listed
from tests.support.server_records import eventually

CLOSED = 450
OPEN = 30
RUNS = "WorkflowType = 'envelope-codec.audit'"


@pytest.fixture(scope="module")
def temporal_server(run_server: Any) -> Iterator[TemporalServer]:
    with run_server(TemporalServer(db=False, namespaces=("shared", "small"))) as server:
        yield server


async def test_with_a_killed_worker_the_closed_totals_are_those_of_one_machine(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    place = Place(temporal_server.address, "shared", tmp_path)
    with place.plugin() as plugin:
        client = await place.connect(plugin)
        await make_workflows(client, CLOSED, OPEN)
        await until_listed(client, "ExecutionStatus = 'Terminated'", CLOSED)
    options = ("--wait", "1", "--at-once", "1", "--rate", "80", "--takeover", "2")
    outcome = await audit_meanwhile(place, OPEN, *options)
    distributed, local = outcome.distributed, outcome.local
    assert outcome.attempts > 1, "the killed worker's window was taken over"
    assert outcome.moved > 0
    assert distributed["complete"]
    assert distributed["parts"]["closed"]["read"] >= CLOSED
    assert distributed["parts"]["closed"] == local["parts"]["closed"]
    assert not any("envelope-codec.audit" in str(part) for part in local["parts"].values()), "its own runs are left out"


async def histories(client: Client) -> list[WorkflowHistory]:
    """The histories of all runs of the audit."""

    async def ended() -> bool:
        return not (await client.count_workflows(f"{RUNS} AND ExecutionStatus = 'Running'")).count

    await eventually(ended, "the audit is listed as ended")
    runs = [one async for one in client.list_workflows(RUNS)]
    return [await client.get_workflow_handle(one.id, run_id=one.run_id).fetch_history() for one in runs]


async def test_it_continues_as_new_is_sealed_and_replays(
    temporal_server: TemporalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With small windows and short runs. Two commands follow one workflow, and find the same."""
    monkeypatch.setattr(course, "PAGE", 2)
    monkeypatch.setattr(course, "RUN", 4)
    monkeypatch.setattr(window, "LARGEST", 5)
    place = Place(temporal_server.address, "small", tmp_path)
    connection = Connection(temporal_server.address, None, {})
    settings, results = EnvelopeConfig.from_file(str(place.config)), parse_store_url(f"file://{tmp_path}/results")
    how = Distribution("in-process", "small", results, 8, 30)
    with place.plugin() as plugin:
        client = await place.connect(plugin)
        await make_workflows(client, 40, 3)
        await until_listed(client, "ExecutionStatus = 'Terminated'", 40)
        async with AsyncExitStack() as stack:
            served = await offered(Offer(client, settings, results), stack)
            await stack.enter_async_context(make_worker(client, how.queue, served, 8))
            audited = Audited("small", "", None, 0, 2_000)
            both = [audit_by_workers(connection, audited, settings, how) for _ in range(2)]
            findings, other = await asyncio.gather(*both)
        assert to_document(findings.whole) == to_document(other.whole)
        with Checkpoint(None, {}, findings.as_of) as known:
            alone = await run_audit(connection, "small", "", known, 0, 2_000, None, importing=False)
        for part in (Part.closed, Part.open):
            assert to_document(findings.parts[part]) == to_document(alone.parts[part])
        assert (alone.parts[Part.closed].sources, alone.parts[Part.open].sources) == (40, 3), "without its own runs"

        runs = await histories(client)
        assert len(runs) > 3
        assert len({one.workflow_id for one in runs}) == 1
        replayer = Replayer(workflows=[AuditWorkflow], namespace="small", plugins=[plugin])
        for one in runs:
            events = [event.event_type for event in one.events]
            assert events.count(10) <= 4 + 8, "activities: of four windows, and some of each page"
            found = [at.message for event in one.events for at in walk(event) if isinstance(at.message, Payload)]
            assert {at.metadata["encoding"] for at in found} == {b"binary/envelope-v1"}
            await replayer.replay_workflow(one)
