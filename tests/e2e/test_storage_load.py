"""Five hundred workflows for each store, which goes away in the middle and comes back: none of them fails."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any

import pytest
from devstack import Server
from temporalio.client import Client

from envelope_codec import Event
from envelope_codec.testing import FakeKms
from tests.support.harness_stores import DURABLE, SERVED, Stores, aws_environment, listed, opened
from tests.support.real_master_keys import quick_temporal
from tests.support.server_records import eventually
from tests.support.small_workflow_load import SmallWorkflowLoad, worker

RunServer = Callable[[Server], AbstractContextManager[Any]]
MANY = 500
BRIEF = {"sqlite": "&timeout=0.1"}
"""So that a call without an answer does not take long."""

IN_EVERY_RUN = ("postgresql",)

temporal_server = pytest.fixture(scope="module")(quick_temporal)


@pytest.fixture(autouse=True)
def credentials() -> Iterator[None]:
    with aws_environment():
        yield


class Watch:
    """An observer that counts calls of the datastore which got no answer."""

    def __init__(self) -> None:
        self.unanswered = 0

    def on_event(self, event: Event) -> None:
        self.unanswered += event.outcome == "StoreUnavailable"


@asynccontextmanager
async def killed(server: Server) -> AsyncIterator[None]:
    """Without a warning, and started again at the end."""
    os.killpg(server.pid, signal.SIGKILL)
    yield
    await asyncio.to_thread(server.restart)


@asynccontextmanager
async def paused(server: Server) -> AsyncIterator[None]:
    """LocalStack would have lost everything if it were killed."""
    server.pause()
    try:
        yield
    finally:
        server.resume()


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[None]:
    """Another process has the database to itself."""
    other = sqlite3.connect(url.partition(":///")[2].partition("?")[0], isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind in IN_EVERY_RUN else (pytest.mark.nightly,))
        for kind in (*DURABLE, "azblob", "s3", "sqlite")
    ],
)
async def test_no_workflow_of_many_fails_while_the_store_is_away(
    kind: str,
    stores: Stores,
    run_server: RunServer,
    connect: Any,
    plain: Client,
    name: str,
    kms: FakeKms,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("envelope_codec.storage.driver._CALL_SECONDS", 1.0)
    with run_server(SERVED[kind][0]()) if kind in DURABLE else nullcontext() as server:
        harness: Any = SERVED[kind][1](server) if kind in DURABLE else stores[kind]
        url = await harness.place()
        if kind in DURABLE:
            outage = killed(harness.server)
        else:
            outage = locked(url) if kind == "sqlite" else paused(harness.server)
        watch = Watch()
        client, _ = await connect(
            kms, storage=url + BRIEF.get(kind, ""), storage_threshold=0, observer=watch, timeout=150
        )
        load = SmallWorkflowLoad(name, [client], short=MANY, long=0, enough=0)
        async with worker(client, name):
            passing = asyncio.ensure_future(load.pass_by())
            await load.share_done(1 / 4)
            async with outage:
                before = watch.unanswered
                await eventually(lambda: _true(watch.unanswered > before + 10), "calls without an answer")
            await asyncio.wait_for(passing, 150)
        assert load.done == MANY
        ended = f"TaskQueue = '{name}' AND ExecutionStatus = 'Completed'"
        await eventually(lambda: _counts(plain, ended, MANY), "the list of workflows")
        store = opened(url)
        assert len(await listed(store)) >= 2 * MANY
        await store.close()


async def _true(condition: bool) -> bool:
    return condition


async def _counts(plain: Client, query: str, expected: int) -> bool:
    return (await plain.count_workflows(query)).count == expected
