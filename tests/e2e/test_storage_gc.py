"""``envelope-codec storage gc`` deletes what nothing on the real server refers to, and not one payload more."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from devstack import TemporalServer
from google.protobuf.message import Message
from temporalio import activity
from temporalio.api.enums.v1 import EncodingType
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    ListActivityExecutionsRequest,
    ListNexusOperationExecutionsRequest,
    ListSchedulesRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import (
    ActivityHandle,
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.common import RetryPolicy
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from envelope_codec import EnvelopePlugin
from envelope_codec.cli import main
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.cli.reading.reader import Reader, Source, SourceKind
from envelope_codec.cli.storage.garbage import Collection, Stopped
from envelope_codec.cli.storage.state import State
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.store import parse_store_url
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.payload_walk import payloads_in
from envelope_codec.testing import FakeKms
from tests.e2e.test_workflows import Journey
from tests.support.all_data_workflow import mark
from tests.support.batch_signal import signal_all
from tests.support.context_header import ContextHeader
from tests.support.harness_stores import Sqlite, listed, new_id, opened
from tests.support.server_records import eventually, pending_activity
from tests.support.small_workflows import Delegate, Hello, Listen, Work

OLD = 40 * 86_400  # seconds
NAMESPACES = ("corners", "unreadable", "resumed", "late", "without")


class Shed:
    """A store in SQLite, a key, and a file of settings for both.

    Attributes:
        url: of the store.
        key: key URI.
        file: of settings.
    """

    def __init__(self, folder: Path, url: str) -> None:
        create_key_file(folder / "key.json")
        self.url, self.key, self.file = url, key_uri(folder / "key.json"), folder / "envelope.toml"
        self.file.write_text(f'key = "{self.key}"\nstorage = "{url}"\nstorage_threshold = 0\n')

    async def ids(self) -> set[str]:
        store = opened(self.url)
        try:
            return {kept.id for kept in await listed(store)}
        finally:
            await store.close()

    def age(self) -> None:
        """Make all that is in it old."""
        path = parse_store_url(self.url).url.partition(":///")[2].partition("?")[0]
        table = self.url.partition("table=")[2]
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(f'UPDATE "{table}" SET created = created - {OLD}')


@pytest.fixture
async def shed(tmp_path: Path) -> Shed:
    return Shed(tmp_path, await Sqlite(tmp_path).place())


@pytest.fixture(scope="module")
def temporal_server(run_server: Any) -> Iterator[TemporalServer]:
    """With a namespace for each test: nothing in it is sealed under other keys. Made later, they get no schedules."""
    with run_server(TemporalServer(db=False, namespaces=NAMESPACES)) as server:
        yield server


class Told(NamedTuple):
    status: int
    printed: str
    complained: str

    @property
    def document(self) -> Any:
        return json.loads(self.printed)


@pytest.fixture
def gc(shed: Shed, temporal_server: TemporalServer, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command."""

    async def gc(*options: str, address: str = temporal_server.address) -> Told:
        capsys.readouterr()
        arguments = ["storage", "gc", "--config", str(shed.file), "--address", address, *options]
        with pytest.raises(SystemExit) as left:
            await asyncio.to_thread(main, arguments)
        return Told(int(left.value.code or 0), *capsys.readouterr())

    return gc


async def test_deletes_orphans_and_nothing_that_any_corner_refers_to(
    shed: Shed, gc: Any, connect: Any, temporal_server: TemporalServer, name: str
) -> None:
    namespace, base = "corners", f"marigold{uuid.uuid4().hex}"
    settings = {"namespace": namespace, "storage": shed.url, "storage_threshold": 0}
    travelling, _ = await connect(shed.key, interceptors=[ContextHeader(mark(base, "header"))], **settings)
    client, _ = await connect(shed.key, **settings)
    plain = await Client.connect(temporal_server.address, namespace=namespace)
    await Journey(travelling, plain, name, base).go()
    await fill_corners(client, name)
    filled = await shed.ids()
    await signal_all(client, "WorkflowId = 'nobody'", await client.data_converter.encode(["to nobody"]))
    in_batch = await shed.ids() - filled
    orphans = await put_orphans(client, 3)
    elsewhere, _ = await connect(shed.key, namespace="elsewhere", storage=shed.url, storage_threshold=0)
    foreign = await put_orphans(elsewhere, 2)
    store, garbage = opened(shed.url), new_id()
    await store.put(garbage, b"no envelope")
    shed.age()
    young = await put_orphans(client, 1)
    before = await shed.ids()

    dry = await gc("--older-than", "30d", "--namespace", namespace, "--json")
    assert (dry.status, dry.complained) == (0, "")
    found = {orphan["id"] for orphan in dry.document["orphans"]}
    assert found >= orphans
    assert not found & (foreign | young | {garbage})
    assert len(in_batch) == 1
    assert not found & in_batch, "the batch operation's own workflow refers to it, in JSON"
    assert dry.document["deleted"] == 0
    assert dry.document["other_namespaces"] == 2
    assert dry.document["no_envelopes"] == 1
    assert dry.document["referenced"] > 60
    assert await shed.ids() == before

    for_people = await gc("--older-than", "30d", "--namespace", namespace)
    assert all(id in for_people.printed for id in found)
    assert "Nothing was deleted: --delete does that." in for_people.printed

    done = await gc("--older-than", "30d", "--namespace", namespace, "--delete")
    assert (done.status, done.complained) == (0, "")
    assert await shed.ids() == before - found
    reader, kinds = Reader(plain, namespace), set()
    async for source in reader.sources():
        kinds.add(source.kind)
        async for message in reader.messages(source):
            for payload in payloads_in(message):
                await client.data_converter._transform_inbound_payload(payload)
    assert kinds == {SourceKind.workflow, SourceKind.schedule, SourceKind.activity}
    await store.close()
    await finish_corners(client, name)


async def fill_corners(client: Client, name: str) -> None:
    """An open workflow that has a signal, a schedule, a pending activity with heartbeat details and a failure, and
    standalone activities: one with the same, one that waits, one that has ended.
    """
    await client.start_workflow(Listen.run, id=f"{name} open", task_queue=f"{name} nobody", memo={"note": "a memo"})
    await client.get_workflow_handle(f"{name} open").signal(Listen.say, "said")
    await client.create_schedule(
        f"{name} schedule",
        Schedule(
            ScheduleActionStartWorkflow(Hello.run, "Ada", id=f"{name} scheduled", task_queue=name),
            spec=ScheduleSpec(),
            state=ScheduleState(paused=True),
        ),
        memo={"note": "a schedule's memo"},
    )
    await client.start_workflow(Delegate.run, args=["resume", name, ""], id=f"{name} pending", task_queue=name)
    async with Worker(
        client,
        task_queue=name,
        workflows=[Delegate],
        activities=[resume, Work().echo],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        await pending_activity(
            client, f"{name} pending", lambda one: one.HasField("heartbeat_details") and one.HasField("last_failure")
        )
        resumes = await client.start_activity(
            "resume",
            id=f"{name} resumes",
            task_queue=name,
            start_to_close_timeout=timedelta(seconds=60),
            retry_policy=RetryPolicy(backoff_coefficient=1),
        )
        await eventually(lambda: _has_failed(resumes), "a standalone activity that is to be tried again")
        ended = await client.start_activity(
            "echo", "hello", id=f"{name} ended", task_queue=name, start_to_close_timeout=timedelta(seconds=60)
        )
        assert await ended.result() == "echo of hello"
    await client.start_activity(
        "echo",
        "wait",
        id=f"{name} waits",
        task_queue=f"{name} nobody",
        start_to_close_timeout=timedelta(seconds=60),
        schedule_to_start_timeout=timedelta(seconds=600),
    )


async def _has_failed(handle: ActivityHandle[Any]) -> bool:
    return (await handle.describe()).attempt > 1


@activity.defn(name="resume")
async def resume() -> str:
    if activity.info().attempt == 1:
        activity.heartbeat("the first half")
    raise RuntimeError("again, please")


async def finish_corners(client: Client, name: str) -> None:
    """What was open goes on."""
    assert await client.get_activity_handle(f"{name} ended").result() == "echo of hello"
    async with Worker(
        client,
        task_queue=f"{name} nobody",
        workflows=[Listen],
        activities=[Work().echo],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        assert await client.get_workflow_handle(f"{name} open", result_type=str).result() == "said"
        assert await client.get_activity_handle(f"{name} waits").result() == "echo of wait"

    @activity.defn(name="resume")
    async def go_on() -> str:
        return str(activity.info().heartbeat_details)

    async with Worker(
        client,
        task_queue=name,
        workflows=[Delegate, Hello],
        activities=[go_on],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        await client.get_schedule_handle(f"{name} schedule").trigger()

        async def scheduled() -> str | None:
            async for one in client.list_workflows(f"WorkflowType = 'Hello' AND TaskQueue = '{name}'"):
                result: str = await client.get_workflow_handle(one.id, result_type=str).result()
                return result
            return None

        assert await eventually(scheduled, "the scheduled workflow") == "Hello, Ada!"
        assert await client.get_workflow_handle(f"{name} pending").result() == "['the first half']"
        assert await client.get_activity_handle(f"{name} resumes").result() == "['the first half']"


async def put_orphans(client: Client, count: int) -> set[str]:
    """As a workflow task leaves them that has to be done again."""
    storage = client.data_converter.external_storage
    assert storage is not None
    driver = storage.drivers[0]
    assert isinstance(driver, EnvelopeDriver)
    store = driver.pool.open_here().store
    before = {kept.id for kept in await listed(store)}
    await client.data_converter.encode([f"orphan {number}" for number in range(count)])
    return {kept.id for kept in await listed(store)} - before


async def test_stops_and_deletes_nothing_where_anything_is_unreadable(
    shed: Shed, gc: Any, connect: Any, temporal_server: TemporalServer, name: str, tmp_path: Path
) -> None:
    namespace = "unreadable"
    client, _ = await connect(shed.key, namespace=namespace, storage=shed.url, storage_threshold=0)
    await client.start_workflow(Hello.run, "Ada", id=name, task_queue=name)
    other, _ = await connect(FakeKms(), namespace=namespace, storage=shed.url, storage_threshold=0)
    await put_orphans(client, 1)
    shed.age()
    before = await shed.ids()
    options = "--older-than", "30d", "--delete", "--namespace"

    async def refused(said: str, *more: str, **settings: str) -> None:
        told = await gc(*more, **settings)
        assert told.status == 1
        assert told.complained.startswith("envelope-codec: stopped, and nothing was deleted: ")
        assert said in told.complained
        assert await shed.ids() == before

    await refused("namespace 'missing' can't be read: NOT_FOUND", *options, namespace, "--namespace", "missing")
    await refused("no connection to 127.0.0.1:1", *options, namespace, address="127.0.0.1:1")
    # Of the wrong server: nothing there refers to this store.
    await refused("nothing that was read refers to any payload in this store", *options, "temporal-system")
    # One claim is sealed under a key that is not configured.
    await other.start_workflow(Hello.run, "Ada", id=f"{name} other", task_queue=name)
    before = await shed.ids()
    await refused(f"workflow '{name} other' in namespace '{namespace}' refers to a payload", *options, namespace)

    told = await gc("--older-than", "1h", "--delete", "--namespace", namespace)
    assert told.status == 2
    assert "younger than 1d" in told.complained


class Counting(Reader):
    """Takes down what it reads, and can be made to fail."""

    read: list[str]
    fail_at: str | None = None
    status = RPCStatusCode.PERMISSION_DENIED
    gone = False

    async def messages(self, source: Source) -> AsyncIterator[Message]:
        self.read.append(source.id)
        if source.id == self.fail_at:
            raise RPCError("no", self.status, b"")
        async for message in super().messages(source):
            yield message

    async def is_gone(self, source: Source) -> bool:
        return self.gone


class Quiet:
    def expect(self, doing: str, total: int | None) -> None:
        pass

    def advance(self) -> None:
        pass


async def test_goes_on_from_where_it_was_stopped(
    shed: Shed, connect: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace = "resumed"
    monkeypatch.setattr("envelope_codec.cli.storage.garbage.AT_ONCE", 1)
    client, plugin = await connect(shed.key, namespace=namespace, storage=shed.url, storage_threshold=0)
    async with Worker(client, task_queue=name, workflows=[Hello], workflow_runner=UnsandboxedWorkflowRunner()):
        for number in range(12):
            await client.execute_workflow(Hello.run, "Ada", id=f"{name} {number}", task_queue=name)
    await client.start_workflow(Listen.run, id=f"{name} open", task_queue=f"{name} nobody", memo={"note": "a memo"})
    ended = {f"{name} {number}" for number in range(12)}
    orphans = await put_orphans(client, 1)
    before = await shed.ids()
    await eventually(lambda: _lists(client, 13), "the list of workflows")

    async def search(**faults: Any) -> tuple[set[str], set[str] | None]:
        """What was read, and what was found."""
        reader = Counting(client, namespace)
        reader.read = []
        for fault, value in faults.items():
            setattr(reader, fault, value)
        store = opened(shed.url)
        codec = EnvelopeCodec(plugin.config, keyring=plugin.keyring)
        with State(tmp_path / "state", "server") as state:
            try:
                found = await Collection(store, time.time() + 100, [reader], codec, state, Quiet()).search()
            except Stopped:
                return set(reader.read), None
            finally:
                await store.close()
        return set(reader.read), {orphan.id for orphan in found.orphans}

    everything = ended | {f"{name} open"}
    before_it_failed, found = await search(fail_at=f"{name} 3")
    assert found is None
    before_it_failed -= {f"{name} 3"}
    assert before_it_failed & ended
    # What is open is read each time; what has ended, once.
    assert await search() == (everything - (before_it_failed & ended), orphans)
    assert await search() == ({f"{name} open"}, orphans)
    # What the server has deleted meanwhile is no reason to stop, and refers to nothing.
    _, found = await search(fail_at=f"{name} open", status=RPCStatusCode.NOT_FOUND)
    assert found is None, "it is listed"
    _, found = await search(fail_at=f"{name} open", status=RPCStatusCode.NOT_FOUND, gone=True)
    assert found is not None
    assert found > orphans
    assert await shed.ids() == before


async def _lists(client: Client, count: int) -> bool:
    return (await client.count_workflows()).count == count


async def orphans_that_are_found(shed: Shed, plugin: EnvelopePlugin, reader: Reader) -> set[str]:
    store = opened(shed.url)
    codec = EnvelopeCodec(plugin.config, keyring=plugin.keyring)
    try:
        with State(None, "server") as state:
            found = await Collection(store, time.time() + 100, [reader], codec, state, Quiet()).search()
    finally:
        await store.close()
    return {orphan.id for orphan in found.orphans}


class Late(Reader):
    """Lists a workflow for the first time when all others have been read."""

    late: str
    lists = 0

    async def sources(self) -> AsyncIterator[Source]:
        self.lists += 1
        async for source in super().sources():
            if source.id != self.late or self.lists > 1:
                yield source


async def test_what_is_listed_late_is_read_as_well(
    shed: Shed, connect: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As what was reset, a moment ago, from a run that is being deleted: it has its old payloads."""
    monkeypatch.setattr("envelope_codec.cli.reading.reader._PAGE", 1)
    client, plugin = await connect(shed.key, namespace="late", storage=shed.url, storage_threshold=0)
    for number in range(3):
        await client.start_workflow(Hello.run, "Ada", id=f"{name} {number}", task_queue=name)
    orphans = await put_orphans(client, 1)
    await eventually(lambda: _lists(client, 3), "the list of workflows")
    reader = Late(client, "late")
    reader.late = f"{name} 0"
    assert await orphans_that_are_found(shed, plugin, reader) == orphans
    assert reader.lists == 2
    async for source in reader.sources():
        assert not await reader.is_gone(source)
        assert await reader.is_gone(source._replace(run_id=str(uuid.uuid4())))


class Without(Reader):
    """Of a server, or a proxy before it, that has not got some calls."""

    lacks: tuple[type[Message], ...]

    async def _ask(self, call: Any, request: Message) -> Any:
        if isinstance(request, self.lacks):
            raise RPCError("no such call", RPCStatusCode.UNIMPLEMENTED, b"")
        return await super()._ask(call, request)


async def test_only_what_a_server_may_lack_counts_as_nothing(shed: Shed, connect: Any, name: str) -> None:
    client, plugin = await connect(shed.key, namespace="without", storage=shed.url, storage_threshold=0)
    await client.start_workflow(Hello.run, "Ada", id=name, task_queue=name)
    orphans = await put_orphans(client, 1)
    await eventually(lambda: _lists(client, 1), "the list of workflows")
    reader = Without(client, "without")
    reader.lacks = ListActivityExecutionsRequest, ListNexusOperationExecutionsRequest
    assert await orphans_that_are_found(shed, plugin, reader) == orphans
    for request in ListWorkflowExecutionsRequest, ListSchedulesRequest:
        reader.lacks = (request,)
        with pytest.raises(Stopped, match="the list of namespace 'without' can't be read: UNIMPLEMENTED"):
            await orphans_that_are_found(shed, plugin, reader)


class Paged(Reader):
    """Counts the pages that histories come in."""

    pages = 0

    async def _ask(self, call: Any, request: Message) -> Any:
        self.pages += isinstance(request, GetWorkflowExecutionHistoryRequest)
        return await super()._ask(call, request)


class Empty(Reader):
    """Histories come without their events."""

    async def _ask(self, call: Any, request: Message) -> Any:
        answer = await super()._ask(call, request)
        if isinstance(answer, GetWorkflowExecutionHistoryResponse):
            answer.ClearField("history")
            for blob in answer.raw_history:
                blob.encoding_type = EncodingType.ENCODING_TYPE_JSON
        return answer


@pytest.mark.parametrize("raw", ["false", "true"])
async def test_histories_are_read_in_each_form_that_a_server_gives_them(
    raw: str, shed: Shed, run_server: Any, name: str
) -> None:
    """A server may be set up to send them raw. Then no events stand where they usually do."""
    feature = {"frontend.sendRawWorkflowHistory": raw, "frontend.historyMaxPageSize": "1"}
    with (
        run_server(TemporalServer(db=False, dynamic_config=feature)) as server,
        EnvelopePlugin(shed.key, storage=shed.url, storage_threshold=0) as plugin,
    ):
        client = await Client.connect(server.address, plugins=[plugin])
        orphans = await put_orphans(client, 1)
        started = await client.start_workflow(Listen.run, id=name, task_queue=name, memo={"note": "a memo"})
        for text in "one", "two", "three":
            await started.signal(Listen.say, text)
        assert len(await shed.ids() - orphans) == 4
        await eventually(lambda: _lists(client, 1), "the list of workflows")
        reader = Paged(client, "default")
        assert await orphans_that_are_found(shed, plugin, reader) == orphans
        assert reader.pages > 1
        with pytest.raises(Stopped, match="the server gave a history"):
            await orphans_that_are_found(shed, plugin, Empty(client, "default"))
        await client.data_converter.external_storage.drivers[0].pool.aclose()  # type: ignore[union-attr]
