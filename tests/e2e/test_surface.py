"""Every corner of Temporal: all sides see the truth, and the server nothing but what the README says it can read."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from devstack import TemporalServer
from surface_detached import DETACHED
from surface_header import SurfaceHeader
from surface_messages import MESSAGES
from surface_schedules import SCHEDULES
from surface_standalone import STANDALONE
from surface_walk import Corner, Walk, kinds_in_clear, marks_found, secret_found
from temporalio.client import Client

from envelope_codec.testing import FakeKms

CORNERS = {
    "messages": MESSAGES,
    "schedules": SCHEDULES,
    "detached activities": DETACHED,
    "standalone activities": STANDALONE,
}
NEW_IN_TEMPORAL = {
    "activity.enableStandalone": "true",
    "nexusoperation.enableStandalone": "true",
    "history.enableSignalWithStartFromWorkflow": "true",
    "system.forceSearchAttributesCacheRefreshOnRead": "true",
    "limit.userMetadataSummarySize": "20000",
}
"""What the SDK can use and the dev server has switched off. The last is 400 bytes, which no sealed summary keeps."""


@pytest.fixture(scope="module")
def temporal_server(
    run_server: Callable[[TemporalServer], AbstractContextManager[TemporalServer]],
) -> Iterator[TemporalServer]:
    with run_server(TemporalServer(dynamic_config=NEW_IN_TEMPORAL)) as server:
        yield server


@pytest.mark.parametrize("corner", CORNERS.values(), ids=CORNERS.keys())
async def test_temporal_reads_nothing_but_what_it_may(
    corner: Corner, connect: Any, plain: Client, temporal_server: TemporalServer, name: str, kms: FakeKms
) -> None:
    secret, public = f"marigold{uuid.uuid4().hex}", f"poppy{uuid.uuid4().hex}"
    client, _ = await connect(kms, interceptors=[SurfaceHeader(secret)])
    walk = Walk(client, plain, name, secret, public)
    await asyncio.wait_for(corner.walk(walk), 60)
    hidden, readable = marks_found(walk, corner)
    assert hidden == set()
    assert readable == {*corner.readable, *corner.names}
    assert temporal_server.db_path is not None
    assert not secret_found(walk, temporal_server.db_path)
    assert kinds_in_clear(walk.told) == corner.in_clear


@pytest.mark.parametrize("corner", CORNERS.values(), ids=CORNERS.keys())
async def test_search_finds_every_mark_where_the_plugin_is_missing(
    corner: Corner, plain: Client, temporal_server: TemporalServer, name: str
) -> None:
    """Guards the test above: what it searches is where the data would be."""
    secret, public = f"marigold{uuid.uuid4().hex}", f"poppy{uuid.uuid4().hex}"
    config = plain.config()
    config["interceptors"] = [SurfaceHeader(secret)]
    walk = Walk(Client(**config), plain, name, secret, public)
    await asyncio.wait_for(corner.walk(walk), 60)
    hidden, readable = marks_found(walk, corner)
    assert hidden == set(corner.hidden)
    assert readable == {*corner.readable, *corner.names}
