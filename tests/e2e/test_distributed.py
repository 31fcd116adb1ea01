"""``envelope-codec audit --distributed`` and its workers on the real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from devstack import TemporalServer

from tests.support.distributed_audit import Place, audit_meanwhile, make_workflows, until_listed

CLOSED = 450
OPEN = 30


@pytest.fixture(scope="module")
def temporal_server(run_server: Any) -> Iterator[TemporalServer]:
    with run_server(TemporalServer(db=False, namespaces=("shared",))) as server:
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
