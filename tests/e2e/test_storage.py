"""Payloads in datastores, on the real Temporal server: it has nothing but sealed references, and nothing is lost."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from devstack import Server, TemporalServer
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.contrib.aws.s3driver import S3StorageDriver
from temporalio.converter import DataConverter, ExternalStorage
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from envelope_codec.cli.demo.search import Needles
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.datastore.s3_client import Boto3Client
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.temporal.system_payloads import describe_clear_payload
from envelope_codec.testing import FakeKms
from tests.e2e.test_workflows import WORKFLOWS, Journey, user_payloads
from tests.support.all_data_workflow import mark
from tests.support.context_header import ContextHeader
from tests.support.harness_stores import IN_EVERY_RUN, KINDS, OBJECT_STORES, Stores, aws_environment, listed, opened
from tests.support.payload_size_workflows import SIZES, STUCK_AT, Child, Depot, Shift, fetch, load, weigh, weight, work
from tests.support.server_records import events, eventually, result_of
from tests.support.small_workflows import Hello, Listen

RunServer = Callable[[Server], AbstractContextManager[Any]]
SOON = timedelta(seconds=1)
"""The server hands out a failed workflow task again after so long."""
ROOT = Path(__file__).resolve().parents[2]
WORKER = "tests.support.payload_size_worker"


@pytest.fixture(autouse=True)
def credentials() -> Iterator[None]:
    with aws_environment():
        yield


async def kept_in(url: str) -> list[str]:
    """Ids of the payloads in a store."""
    store = opened(url)
    try:
        return [kept.id for kept in await listed(store)]
    finally:
        await store.close()


def assert_sealed_reference(payload: Payload, driver: str) -> None:
    """``payload`` leads to the store, and tells neither where that is nor what it is called there."""
    assert describe_clear_payload(payload) == "reference to external storage"
    reference = json.loads(payload.data)
    assert reference.keys() == {"driverName", "claimData"}
    assert reference["driverName"] == driver
    assert reference["claimData"].keys() == {"envelope"}
    assert is_envelope(Payload.FromString(base64.b64decode(reference["claimData"]["envelope"])))
    assert payload.metadata.keys() == {"encoding", "messageType"}


@pytest.mark.parametrize("kind", IN_EVERY_RUN)
async def test_temporal_has_nothing_but_sealed_references(
    kind: str, stores: Stores, connect: Any, plain: Client, temporal_server: TemporalServer, name: str, kms: FakeKms
) -> None:
    base, url = f"marigold{uuid.uuid4().hex}", await stores[kind].place()
    client, plugin = await connect(
        kms,
        storage=url,
        storage_threshold=0,
        storage_query_threshold=0,
        require_encryption=True,
        interceptors=[ContextHeader(mark(base, "header"))],
    )
    journey = Journey(client, plain, name, base)
    await asyncio.wait_for(journey.go(), 120)
    driver = f"envelope-{kind}"
    stored = await journey.stored()
    payloads = [payload for run in stored for event in run.history.events for payload in user_payloads(event)]
    for payload in [*payloads, *journey.queried]:
        assert_sealed_reference(payload, driver)
    ids = await kept_in(url)
    assert len(ids) >= len({payload.data for payload in payloads}) > 30

    needles = Needles([base, *ids])
    for text in [run.text() for run in stored] + journey.snapshots:
        assert needles.find_in(text) == set()
        assert [id for id in ids if bytes.fromhex(id) in text] == []
    assert temporal_server.db_path is not None
    assert Needles([base]).find_in_database(temporal_server.db_path) == set()
    database = b"".join(
        path.read_bytes() for path in temporal_server.db_path.parent.glob(temporal_server.db_path.name + "*")
    )
    assert driver.encode() in database, "it looks where references are"
    assert [id for id in ids if id.encode() in database or bytes.fromhex(id) in database] == []

    history = await plain.get_workflow_handle(f"{name} declined").fetch_history()
    replayer = Replayer(workflows=WORKFLOWS, plugins=[plugin], interceptors=[ContextHeader("")])
    await replayer.replay_workflow(history)


@pytest.mark.parametrize("kind", IN_EVERY_RUN)
async def test_payloads_of_every_size(
    kind: str, stores: Stores, connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    """Temporal's own limits are 2 MB for a payload and 4 MB for a message."""
    url = await stores[kind].place()
    client, _ = await connect(kms, storage=url, storage_threshold=0)
    async with Worker(client, task_queue=name, workflows=[Depot, Child], activities=[weigh, fetch]):
        goods = [load(size) for size in SIZES]
        result = await asyncio.wait_for(client.execute_workflow(Depot.run, args=goods, id=name, task_queue=name), 120)
    assert result == [*map(weight, goods), weight(goods[-1])]
    told = await events(plain, name)
    for event in told:
        for payload in user_payloads(event):
            assert_sealed_reference(payload, f"envelope-{kind}")
    assert not {event.event_type for event in told} & {
        EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED,
    }


async def test_no_work_is_lost_with_a_worker_that_is_killed(
    stores: Stores, connect: Any, temporal_server: TemporalServer, tmp_path: Path, name: str
) -> None:
    """One process with a worker for each store is killed in the middle, and another goes on."""
    create_key_file(tmp_path / "key.json")
    key = key_uri(tmp_path / "key.json")
    urls = {kind: await stores[kind].place() for kind in KINDS if kind not in OBJECT_STORES}
    clients = {kind: (await connect(key, storage=url, storage_threshold=0)).client for kind, url in urls.items()}
    handles = [
        await client.start_workflow(Shift.run, 5, id=f"{name} {kind} {number}", task_queue=f"{name} {kind}")
        for kind, client in clients.items()
        for number in range(2)
    ]
    command = [sys.executable, "-m", WORKER, temporal_server.address, name, key, *urls.values()]
    process = await asyncio.create_subprocess_exec(*command)
    try:
        await eventually(lambda: _under_way(handles), "work that is under way everywhere")
    finally:
        process.kill()
        await process.wait()
    async with AsyncExitStack() as stack:
        for kind, client in clients.items():
            await stack.enter_async_context(
                Worker(client, task_queue=f"{name} {kind}", workflows=[Shift], activities=[work])
            )
        for handle in handles:
            expected = [f"{handle.id} {number} done" for number in range(5)]
            assert await result_of(handle) == expected


async def _under_way(handles: list[Any]) -> bool:
    """Whether each of the workflows has had all the work done that the process does."""
    done = [
        sum(
            event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
            for event in (await handle.fetch_history()).events
        )
        for handle in handles
    ]
    return bool(min(done) == STUCK_AT)


async def test_after_a_move_old_references_are_read_from_the_former_store(
    connect: Any, plain: Client, stores: Stores, name: str, kms: FakeKms
) -> None:
    old, new = await stores["file"].place(), await stores["sqlite"].place()
    before, _ = await connect(kms, storage=old, storage_threshold=0)
    handle = await before.start_workflow(Listen.run, id=name, task_queue=name)
    await handle.signal(Listen.say, "said before")
    hello = await before.start_workflow(Hello.run, "Ada", id=f"{name} hello", task_queue=name)
    kept = await kept_in(old)
    assert len(kept) == 2

    after, _ = await connect(kms, storage=new, storage_threshold=0, former_storage=[old])
    async with worker_of(after, name):
        assert await result_of(after.get_workflow_handle_for(Listen.run, name)) == "said before"
        assert await result_of(after.get_workflow_handle_for(Hello.run, hello.id)) == "Hello, Ada!"
    assert await kept_in(old) == kept
    assert len(await kept_in(new)) >= 2


@pytest.mark.parametrize("lacks", ["all stores", "this store"])
async def test_a_reference_to_a_store_that_is_not_configured_waits_for_one_who_has_it(
    lacks: str, connect: Any, plain: Client, stores: Stores, name: str, kms: FakeKms
) -> None:
    url = f"{await stores['file'].place()}?name=shed"
    having, _ = await connect(kms, storage=url, storage_threshold=0)
    handle = await having.start_workflow(Hello.run, "Ada", id=name, task_queue=name, task_timeout=SOON)
    settings = {"storage": await stores["sqlite"].place()} if lacks == "this store" else {}
    lacking, _ = await connect(kms, **settings)
    async with worker_of(lacking, name):
        failure = await eventually(lambda: _task_failure(plain, lacking, name), "a failed workflow task")
    said = "No driver found with name 'shed'" if settings else "external storage is not configured"
    assert said in failure
    assert "file:" not in failure
    async with worker_of(having, name):
        assert await result_of(handle) == "Hello, Ada!"


@pytest.mark.parametrize(
    ("change", "said"), [("delete", "no such payload"), ("overwrite", "other bytes than were stored")]
)
async def test_a_payload_that_is_missing_or_garbage_is_told_and_fails_no_workflow(
    change: str, said: str, connect: Any, plain: Client, stores: Stores, name: str, kms: FakeKms
) -> None:
    url = await stores["file"].place()
    client, _ = await connect(kms, storage=url, storage_threshold=0)
    handle = await client.start_workflow(Hello.run, "Ada", id=name, task_queue=name, task_timeout=SOON)
    [id] = await kept_in(url)
    store = opened(url)
    data = await store.get(id)
    await (store.delete(id) if change == "delete" else stores["file"].overwrite(url, id, b"garbage"))
    async with worker_of(client, name):
        failure = await eventually(lambda: _task_failure(plain, client, name), "a failed workflow task")
        assert said in failure
        assert id not in failure
        await store.put(id, data)
        assert await result_of(handle) == "Hello, Ada!"
    await store.close()


async def test_without_sealing_what_is_stored_is_read_and_nothing_is_stored(
    connect: Any, plain: Client, stores: Stores, name: str, kms: FakeKms
) -> None:
    url = await stores["redis"].place()
    sealing, _ = await connect(kms, storage=url, storage_threshold=0)
    handle = await sealing.start_workflow(Hello.run, "Ada", id=name, task_queue=name)
    kept = await kept_in(url)
    reading, _ = await connect(kms, storage=url, storage_threshold=0, sealing=False)
    async with worker_of(reading, name):
        assert await result_of(handle) == "Hello, Ada!"
    assert await kept_in(url) == kept
    *_, completed = await events(plain, name)
    [result] = completed.workflow_execution_completed_event_attributes.result.payloads
    assert result.data == b'"Hello, Ada!"'


async def test_what_the_sdks_own_s3_driver_has_stored_is_read(
    connect: Any, plain: Client, stores: Stores, name: str, kms: FakeKms
) -> None:
    """Its references are in clear. Who used it before gives its bucket as former storage."""
    s3: Any = stores["s3"]
    boto3 = Boto3Client(s3.client())
    theirs = ExternalStorage(drivers=[S3StorageDriver(boto3, bucket=s3.bucket)], payload_size_threshold=0)
    before, _ = await connect(kms, data_converter=DataConverter(external_storage=theirs))
    await before.start_workflow(Hello.run, "Ada", id=name, task_queue=name)
    new = await stores["file"].place()
    former = f"s3://{s3.bucket}?{s3.options}&name=aws.s3driver"
    after, _ = await connect(kms, storage=new, storage_threshold=0, former_storage=[former], require_encryption=True)
    async with worker_of(after, name):
        assert await result_of(after.get_workflow_handle_for(Hello.run, name)) == "Hello, Ada!"
    assert len(await kept_in(new)) >= 1
    boto3.close()


async def test_only_large_payloads_are_stored_by_default(
    connect: Any, plain: Client, stores: Stores, name: str, kms: FakeKms
) -> None:
    url = await stores["postgresql"].place()
    client, _ = await connect(kms, storage=url)
    async with worker_of(client, name):
        small = client.execute_workflow(Hello.run, "Ada", id=f"{name} small", task_queue=name)
        assert await asyncio.wait_for(small, 60) == "Hello, Ada!"
        assert await kept_in(url) == []
        text = "x" * 3_000_000
        large = client.execute_workflow(Hello.run, text, id=f"{name} large", task_queue=name)
        assert await asyncio.wait_for(large, 60) == f"Hello, {text}!"
        assert len(await kept_in(url)) >= 2


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, [14, 14, 14, 14]), ({"storage_replay_memory": 0, "storage_query_threshold": 0}, [14, 22, 30, 38])],
)
async def test_replays_and_queries_store_nothing_unless_they_are_to(
    settings: Any, expected: list[int], connect: Any, stores: Stores, name: str
) -> None:
    """The figures that docs/storage.md names."""
    url, kms = await stores["sqlite"].place(), FakeKms()
    counted: list[Any] = []
    for _ in range(4):  # a process of its own each: none has the workflow at hand
        client, _plugin = await connect(kms, storage=url, storage_threshold=0, **settings)
        async with Worker(client, task_queue=name, workflows=[Shift], activities=[work]):
            if counted:
                assert len(await client.get_workflow_handle_for(Shift.run, name).query(Shift.done)) == 6
            else:
                await client.execute_workflow(Shift.run, 6, id=name, task_queue=name)
        counted.append(len(await kept_in(url)))
    assert counted == expected


def worker_of(client: Client, task_queue: str) -> Worker:
    return Worker(client, task_queue=task_queue, workflows=[Listen, Hello], workflow_runner=UnsandboxedWorkflowRunner())


async def _task_failure(plain: Client, client: Client, workflow_id: str) -> str | None:
    """What the history tells ``client`` of a failed workflow task. It tells of the first one only."""
    for event in await events(plain, workflow_id):
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            failure = event.workflow_task_failed_event_attributes.failure
            return repr(await client.data_converter.decode_failure(failure)) + str(failure)
    return None
