"""How a worker starts: with a key to seal with, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.worker import Worker

from envelope_codec import ConfigurationError, EnvelopePlugin, KeyDenied
from envelope_codec.testing import FakeKms
from tests.support.kms_connection import KmsConnection
from tests.support.payload_points import Code, Operations
from tests.support.server_records import eventually, result_of
from tests.support.small_workflows import Hello

_CODE = Code()
TASKS: list[dict[str, Any]] = [
    {"workflows": [Hello]},
    {"activities": _CODE.activities},
    {"nexus_service_handlers": [Operations(_CODE)]},
    {"workflows": [Hello], "activities": _CODE.activities, "nexus_service_handlers": [Operations(_CODE)]},
]
"""What a worker may be for."""


async def pollers(plain: Client, task_queue: str) -> int:
    request = DescribeTaskQueueRequest(
        namespace=plain.namespace,
        task_queue=TaskQueue(name=task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    return len((await plain.workflow_service.describe_task_queue(request)).pollers)


async def test_worker_of_a_client_that_does_not_encrypt_is_refused(plain: Client, name: str, kms: FakeKms) -> None:
    with EnvelopePlugin(kms) as plugin, pytest.raises(ConfigurationError, match="the client does not encrypt"):
        Worker(plain, task_queue=name, workflows=[Hello], plugins=[plugin])


async def test_verify_tells_clients_apart(connect: Any, plain: Client, kms: FakeKms) -> None:
    client, plugin = await connect(kms)
    _, other = await connect(kms)
    plugin.verify(client)
    for stranger, asked in ((plain, plugin), (client, other)):
        with pytest.raises(ConfigurationError, match="the client does not encrypt"):
            asked.verify(stranger)


async def test_denied_key_ends_the_worker_and_its_block(connect: Any, name: str, kms: FakeKms) -> None:
    kms.denied = True
    client, _ = await connect(kms, refusal_ttl=0)

    with pytest.raises(KeyDenied):
        await asyncio.wait_for(Worker(client, task_queue=name, workflows=[Hello]).run(), 20)

    async def block() -> None:
        async with Worker(client, task_queue=name, workflows=[Hello]):
            await asyncio.Event().wait()

    with pytest.raises(KeyDenied):
        await asyncio.wait_for(block(), 20)

    kms.denied = False
    async with Worker(client, task_queue=name, workflows=[Hello]):
        assert await client.execute_workflow(Hello.run, "you", id=name, task_queue=name) == "Hello, you!"


@pytest.mark.parametrize("tasks", TASKS, ids=", ".join)
async def test_shutdown_after_a_denied_start_does_not_hang(
    tasks: dict[str, Any], connect: Any, name: str, kms: FakeKms
) -> None:
    kms.denied = True
    client, _ = await connect(kms)
    worker = Worker(client, task_queue=name, **tasks)
    with pytest.raises(KeyDenied):
        await asyncio.wait_for(worker.run(), 20)
    await asyncio.wait_for(worker.shutdown(), 5)
    assert worker.is_shutdown
    with pytest.raises(RuntimeError, match="has ended: make another"):
        await asyncio.wait_for(worker.run(), 20)


async def test_worker_waits_for_a_kms_that_is_down_and_then_works(
    connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    connection = KmsConnection(kms, cut=True)
    starter, _ = await connect(kms)
    client, _ = await connect(connection)
    handle = await starter.start_workflow(Hello.run, "you", id=name, task_queue=name)
    async with Worker(client, task_queue=name, workflows=[Hello]):
        await eventually(lambda: _true(connection.refused >= 3), "several calls of the KMS")
        assert await pollers(plain, name) == 0
        connection.cut = False
        assert await result_of(handle) == "Hello, you!"
    assert await pollers(plain, name) == 1


@pytest.mark.parametrize("tasks", TASKS, ids=", ".join)
async def test_worker_that_waits_for_a_kms_shuts_down_at_once(
    tasks: dict[str, Any], connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    connection = KmsConnection(kms, cut=True)
    starter, _ = await connect(kms)
    client, _ = await connect(connection)
    handle = await starter.start_workflow(Hello.run, "you", id=name, task_queue=name)
    worker = Worker(client, task_queue=name, **tasks)
    running = asyncio.ensure_future(worker.run())
    await eventually(lambda: _true(connection.refused >= 2), "calls of the KMS")
    await asyncio.wait_for(worker.shutdown(), 5)
    await asyncio.wait_for(running, 5)
    assert await pollers(plain, name) == 0

    connection.cut = False
    async with Worker(client, task_queue=name, workflows=[Hello]):
        assert await result_of(handle) == "Hello, you!"


async def test_cancelling_a_worker_that_waits_for_a_kms_ends_it(connect: Any, name: str, kms: FakeKms) -> None:
    connection = KmsConnection(kms, cut=True)
    client, _ = await connect(connection)
    worker = Worker(client, task_queue=name, workflows=[Hello])
    running = asyncio.ensure_future(worker.run())
    await eventually(lambda: _true(connection.refused >= 2), "calls of the KMS")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 5)
    await asyncio.wait_for(worker.shutdown(), 5)


async def test_plugin_of_client_and_worker_alike_works_once(
    connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    client, plugin = await connect(kms)
    with pytest.warns(UserWarning, match="present from both client and worker"):
        worker = Worker(client, task_queue=name, workflows=[Hello], plugins=[plugin])
    async with worker:
        assert await client.execute_workflow(Hello.run, "you", id=name, task_queue=name) == "Hello, you!"
    started = (await plain.get_workflow_handle(name).fetch_history()).events[0]
    sealed = started.workflow_execution_started_event_attributes.input.payloads[0]
    (opened,) = await client.data_converter.payload_codec.decode([sealed])
    assert (dict(opened.metadata), opened.data) == ({"encoding": b"json/plain"}, b'"you"')


async def test_client_made_from_a_clients_active_configuration_seals_once(
    connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    client, plugin = await connect(kms)
    again = Client(**client.config(active_config=True))
    plugin.verify(again)
    async with Worker(again, task_queue=name, workflows=[Hello]):
        assert await again.execute_workflow(Hello.run, "you", id=name, task_queue=name) == "Hello, you!"
    started = (await plain.get_workflow_handle(name).fetch_history()).events[0]
    sealed = started.workflow_execution_started_event_attributes.input.payloads[0]
    (opened,) = await client.data_converter.payload_codec.decode([sealed])
    assert (dict(opened.metadata), opened.data) == ({"encoding": b"json/plain"}, b'"you"')


async def _true(fact: bool) -> bool | None:
    return fact or None
