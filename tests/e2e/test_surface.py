"""Every corner of Temporal: all sides see the truth, and the server nothing but what the README says it can read."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from devstack import TemporalServer
from stored import register
from surface_detached import DETACHED
from surface_header import SurfaceHeader
from surface_messages import MESSAGES
from surface_nexus import NEXUS_HIDDEN, NEXUS_NAMES, NEXUS_READABLE, walk_nexus
from surface_runs import RUNS
from surface_schedules import SCHEDULES
from surface_standalone import STANDALONE
from surface_walk import Corner, Walk, kinds_in_clear, marks_found, secret_found
from temporalio.client import Client

from envelope_codec import EnvelopeConfig, NamespaceKeys
from envelope_codec.testing import FakeKms

CORNERS = {
    "messages": MESSAGES,
    "schedules": SCHEDULES,
    "detached activities": DETACHED,
    "standalone activities": STANDALONE,
    "runs": RUNS,
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
    secret, public = _bases()
    client, _ = await connect(kms, interceptors=[SurfaceHeader(secret)])
    walk = Walk(client, plain, name, secret, public)
    await asyncio.wait_for(corner.walk(walk), 60)
    _check(walk, corner, temporal_server)


@pytest.mark.parametrize("corner", CORNERS.values(), ids=CORNERS.keys())
async def test_search_finds_every_mark_where_the_plugin_is_missing(corner: Corner, plain: Client, name: str) -> None:
    """Guards the test above: what it searches is where the data would be."""
    secret, public = _bases()
    config = plain.config()
    config["interceptors"] = [SurfaceHeader(secret)]
    walk = Walk(Client(**config), plain, name, secret, public)
    await asyncio.wait_for(corner.walk(walk), 60)
    _check_guard(walk, corner)


async def test_temporal_reads_nothing_of_nexus_operations_between_namespaces(
    connect: Any, namespaces: tuple[Client, Client], temporal_server: TemporalServer, name: str
) -> None:
    """Each side has a key of its own to seal with, and may open what the other has sealed for its own namespace."""
    calling, handling = namespaces
    calling_key, handling_key = FakeKms(), FakeKms()
    caller = EnvelopeConfig(
        namespaces={
            calling.namespace: NamespaceKeys(key=calling_key),
            handling.namespace: NamespaceKeys(key=calling_key, decrypt_keys=(handling_key,)),
        },
        startup_jitter=0,
    )
    handler = EnvelopeConfig(
        namespaces={
            handling.namespace: NamespaceKeys(key=handling_key),
            calling.namespace: NamespaceKeys(key=handling_key, decrypt_keys=(calling_key,)),
        },
        startup_jitter=0,
    )
    client, _ = await connect(caller, namespace=calling.namespace)
    other, _ = await connect(handler, namespace=handling.namespace)
    walk = Walk(client, calling, name, *_bases())
    corner = _nexus(other, handling)
    await asyncio.wait_for(corner.walk(walk), 60)
    _check(walk, corner, temporal_server)


async def test_search_finds_every_mark_of_nexus_operations_where_the_plugin_is_missing(
    namespaces: tuple[Client, Client], name: str
) -> None:
    calling, handling = namespaces
    walk = Walk(calling, calling, name, *_bases())
    corner = _nexus(handling, handling)
    await asyncio.wait_for(corner.walk(walk), 60)
    _check_guard(walk, corner)


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
    assert server.db_path is not None
    assert not secret_found(walk, server.db_path)


def _check_guard(walk: Walk, corner: Corner) -> None:
    hidden, readable = marks_found(walk, corner)
    assert hidden == set(corner.hidden)
    assert readable == {*corner.readable, *corner.names}
