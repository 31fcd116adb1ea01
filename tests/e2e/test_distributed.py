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

from envelope_codec import EnvelopeConfig, EnvelopePlugin
from envelope_codec.cli import main
from envelope_codec.cli.audit import course, window
from envelope_codec.cli.audit.checkpoint import Checkpoint
from envelope_codec.cli.audit.distribution import Audited, Distribution, audit_by_workers
from envelope_codec.cli.audit.survey import run_audit
from envelope_codec.cli.audit.tally import to_document
from envelope_codec.cli.audit.window import Part
from envelope_codec.cli.audit.workflow import AuditWorkflow
from envelope_codec.cli.connection import Connection
from envelope_codec.cli.distributed.served import Offer
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.cli.rewrap.workflow import RewrapWorkflow
from envelope_codec.cli.worker.command import make_worker, offered
from envelope_codec.keystore_row import parse_row
from envelope_codec.keystores.files import FileKeystore
from envelope_codec.kms import master_key
from envelope_codec.store import parse_store_url
from envelope_codec.temporal.payload_walk import walk
from tests.support.distributed_audit import Place, audit_meanwhile, make_workflows, until_listed
from tests.support.rewrapped_rows import row_by
from tests.support.server_records import eventually

CLOSED = 450
OPEN = 30


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
    options = ("--wait", "1", "--at-once", "1", "--rate", "60", "--takeover", "2")
    outcome = await audit_meanwhile(place, OPEN, *options)
    distributed, local = outcome.distributed, outcome.local
    assert outcome.attempts > 1, "the killed worker's window was taken over"
    assert outcome.moved > 0
    assert distributed["complete"]
    assert distributed["parts"]["closed"]["read"] >= CLOSED
    assert distributed["parts"]["closed"] == local["parts"]["closed"]
    assert not any("envelope-codec.audit" in str(part) for part in local["parts"].values()), "its own runs are left out"


async def histories(client: Client, kind: str) -> list[WorkflowHistory]:
    """The histories of all runs of workflows of this type, once they have ended."""
    query = f"WorkflowType = '{kind}'"

    async def ended() -> bool:
        return not (await client.count_workflows(f"{query} AND ExecutionStatus = 'Running'")).count

    await eventually(ended, "they are listed as ended")
    runs = [one async for one in client.list_workflows(query)]
    return [await client.get_workflow_handle(one.id, run_id=one.run_id).fetch_history() for one in runs]


def encodings(history: WorkflowHistory) -> set[bytes]:
    """The encodings of all payloads in it."""
    found = (at.message for event in history.events for at in walk(event))
    return {one.metadata["encoding"] for one in found if isinstance(one, Payload)}


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

        runs = await histories(client, "envelope-codec.audit")
        assert len(runs) > 3
        assert len({one.workflow_id for one in runs}) == 1
        replayer = Replayer(workflows=[AuditWorkflow], namespace="small", plugins=[plugin])
        for one in runs:
            scheduled = [event for event in one.events if event.HasField("activity_task_scheduled_event_attributes")]
            assert len(scheduled) <= 4 + 8, "activities: of four windows, and some of each page"
            assert encodings(one) == {b"binary/envelope-v1"}
            await replayer.replay_workflow(one)


async def test_rewrap_by_workers(temporal_server: TemporalServer, tmp_path: Path) -> None:
    """Both passes, with the guards and counts of one machine. The workflow's own payloads are sealed."""
    for name in ("old", "new"):
        create_key_file(tmp_path / f"{name}.json")
    (tmp_path / "keystore").mkdir()
    old, new = (key_uri(tmp_path / f"{name}.json") for name in ("old", "new"))
    file, backup, url = tmp_path / "envelope.toml", tmp_path / "backup", f"file://{tmp_path}/keystore"
    file.write_text(f'key = "{new}"\ndecrypt_keys = ["{old}"]\nkeystore = "{url}"\nstartup_jitter = 0\n')
    keystore, settings = FileKeystore(url), EnvelopeConfig.from_file(str(file))
    for _ in range(60):
        row = row_by(master_key(old))
        await keystore.put(row.key, row.serialize(), None)

    async def run(command: str, *options: str) -> int:
        with pytest.raises(SystemExit) as left:
            await asyncio.to_thread(main, [*command.split(), *options, "--config", str(file)])
        return int(left.value.code or 0)

    async def named(uri: str) -> int:
        key_id = master_key(uri).key_id
        rows = [parse_row(kept.key, kept.data) async for kept in keystore.rows()]
        return sum(key_id in {one.key_id for one in row.recipients} for row in rows)

    with EnvelopePlugin(settings) as plugin:
        client = await Client.connect(temporal_server.address, plugins=[plugin])
        async with AsyncExitStack() as stack:
            served = await offered(Offer(client, settings, None, backup), stack)
            await stack.enter_async_context(make_worker(client, "rewraps", served, 8))
            where = ("--address", temporal_server.address, "--task-queue", "rewraps")
            asked = ("--from", old, "--to", new, "--distributed", *where, "-y")
            assert await run("rewrap", *asked) == 0
            assert await named(old) == 60 <= await named(new)
            assert await run("keystore export", str(backup)) == 0
            assert await run("rewrap", *asked, "--drop-old", "--backup", str(backup)) == 0
            assert await named(old) == 0
        replayer = Replayer(workflows=[RewrapWorkflow], plugins=[plugin])
        runs = await histories(client, "envelope-codec.rewrap")
        assert len(runs) == 2
        for one in runs:
            assert encodings(one) == {b"binary/envelope-v1"}
            await replayer.replay_workflow(one)
