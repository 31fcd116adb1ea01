"""Two thousand workflows through two workers, while each KMS in turn rotates its master key twice: nothing fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import Client

from tests.support.real_master_keys import PROVIDERS, RealKms, quick_temporal, real_kms
from tests.support.server_records import eventually
from tests.support.signalled_workflows import IMPATIENT, events_of, records_in, sealed_record, troubles, version_of
from tests.support.small_workflow_load import SHORT_EVENTS, Failures, SmallWorkflowLoad, worker

SHORT, LONG = 500, 10  # workflows with each KMS
MAX_AGE = 0.5  # seconds

servers = pytest.fixture(scope="module")(real_kms)
temporal_server = pytest.fixture(scope="module")(quick_temporal)


@pytest.mark.parametrize(
    "provider", [pytest.param(one, marks=() if one == "aws" else (pytest.mark.nightly,)) for one in PROVIDERS]
)
async def test_rotations_under_load(provider: str, servers: RealKms, connect: Any, plain: Client, name: str) -> None:
    uri, failures = servers.create_key(provider), Failures()
    versions = ["1", "2", "3"] if servers[provider].tells_versions else ["", "", ""]
    clients = [(await connect(uri, max_age=MAX_AGE, observer=failures, **IMPATIENT)).client for _ in range(2)]
    load = SmallWorkflowLoad(name, clients, SHORT, LONG, enough=3)
    async with worker(clients[0], name), worker(clients[1], name):
        await load.begin()
        passing = asyncio.ensure_future(load.pass_by())
        await load.say("before")
        for share, text, version in ((1 / 3, "in between", versions[1]), (2 / 3, "after", versions[2])):
            await load.share_done(share)
            old = [await sealed_record(client) for client in clients]
            await asyncio.to_thread(servers[provider].rotate, uri)
            for client, before in zip(clients, old, strict=True):
                await seals_anew(client, before.id, version)
            await load.say(text)
        await asyncio.wait_for(passing, 150)
        await load.end(["before", "in between", "after"])

    assert failures == []
    assert load.done == SHORT
    stored = await events_of(plain, [*load.long, *await longer_than_needed(plain, load)])
    assert troubles(stored) == []
    assert {version_of(record) for record in records_in(await events_of(plain, load.long))} == set(versions)


async def seals_anew(client: Client, before: bytes, version: str) -> None:
    """Wait until ``client`` seals under another record than the one with the id ``before``, of that key version."""

    async def anew() -> bool:
        record = await sealed_record(client)
        return record.id != before and version_of(record) == version

    await eventually(anew, "a new wrapping key")


async def longer_than_needed(plain: Client, load: SmallWorkflowLoad) -> list[str]:
    """The short workflows whose histories have more than the least events, once the server lists them all as ended."""

    async def ended() -> list[Any] | None:
        query = f"WorkflowType = 'Short' AND ExecutionStatus = 'Completed' AND TaskQueue = '{load.task_queue}'"
        found = [execution async for execution in plain.list_workflows(query)]
        return found if len(found) == len(load.short) else None

    return [one.id for one in await eventually(ended, "the list of workflows") if one.history_length > SHORT_EVENTS]
