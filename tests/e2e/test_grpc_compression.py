"""What a proxy between clients and a real server sees of gRPC compression, in requests and in replies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from devstack import TemporalServer
from temporalio.api.cloud.cloudservice.v1 import GetNamespacesRequest
from temporalio.client import Client, CloudOperationsClient
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode
from temporalio.worker import Worker

from envelope_codec import EnvelopePlugin
from envelope_codec.cli.connection import Connection
from envelope_codec.testing import FakeKms
from tests.support.grpc_tap import GrpcTap
from tests.support.small_workflows import Hello


@pytest.fixture
async def tap(temporal_server: TemporalServer) -> AsyncIterator[GrpcTap]:
    async with GrpcTap(temporal_server.address).running() as tap:
        yield tap


async def greet(client: Client, name: str) -> None:
    async with Worker(client, task_queue=name, workflows=[Hello]):
        assert await client.execute_workflow(Hello.run, "Ada", id=name, task_queue=name) == "Hello, Ada!"


def all_compressed(tap: GrpcTap) -> bool:
    """True if all messages are, False if none is. Replies without content may have none to compress."""
    assert tap.requests.compressed + tap.requests.plain >= 1
    if tap.requests.compressed:
        assert tap.requests.plain == 0
        return True
    assert tap.replies.compressed == 0
    return False


@pytest.mark.parametrize(
    ("settings", "given", "compressed"),
    [
        ({}, {}, False),
        ({}, {"grpc_compression": GrpcCompression.GZIP}, False),
        ({"grpc_compression": "gzip"}, {}, True),
        ({"grpc_compression": "gzip"}, {"grpc_compression": GrpcCompression.NONE}, False),
        ({"grpc_compression": "client"}, {}, True),
        ({"sealing": False}, {}, True),
    ],
)
async def test_messages_of_clients_and_workers(
    settings: Any, given: Any, compressed: bool, tap: GrpcTap, name: str, kms: FakeKms
) -> None:
    with EnvelopePlugin(kms, startup_jitter=0, **settings) as plugin:
        client = await Client.connect(tap.address, plugins=[plugin], **given)
        await greet(client, name)
    assert all_compressed(tap) is compressed
    assert bool(tap.replies.compressed) is compressed
    assert tap.replies.plain + tap.replies.compressed > 1


async def test_a_client_that_connects_when_it_is_used(tap: GrpcTap, name: str, kms: FakeKms) -> None:
    with EnvelopePlugin(kms) as plugin:
        client = await Client.connect(tap.address, lazy=True, plugins=[plugin])
        assert tap.requests.bytes == 0
        await (await client.start_workflow(Hello.run, "Ada", id=name, task_queue=name)).terminate()
    assert not all_compressed(tap)


async def test_a_client_on_a_service_client_has_that_ones_connection(tap: GrpcTap, name: str, kms: FakeKms) -> None:
    shared = (await Client.connect(tap.address)).service_client
    with EnvelopePlugin(kms, startup_jitter=0) as plugin:
        await greet(Client(shared, plugins=[plugin]), name)
    assert all_compressed(tap)


async def test_a_connection_of_ours_serves_other_clients_as_it_is(tap: GrpcTap, name: str, kms: FakeKms) -> None:
    with EnvelopePlugin(kms) as plugin:
        shared = (await Client.connect(tap.address, plugins=[plugin])).service_client
        await greet(Client(shared), name)
    assert not all_compressed(tap)


async def test_the_client_of_cloud_operations_takes_no_plugins(tap: GrpcTap) -> None:
    cloud = await CloudOperationsClient.connect(api_key="key", target_host=tap.address, tls=False)
    with pytest.raises(RPCError) as refused:  # a dev server is no cloud: the request has passed all the same
        await cloud.cloud_service.get_namespaces(GetNamespacesRequest(page_size=1))
    assert refused.value.status == RPCStatusCode.UNIMPLEMENTED
    assert all_compressed(tap)


async def test_commands_that_read_histories_keep_gzip(tap: GrpcTap, plain: Client, name: str) -> None:
    handle = await plain.start_workflow(Hello.run, "Ada", id=name, task_queue=name)
    client = await Connection(tap.address, None, {}).open(60)
    assert len((await client.get_workflow_handle(name).fetch_history()).events) == 2
    await handle.terminate()
    assert all_compressed(tap)
    assert tap.replies.compressed
