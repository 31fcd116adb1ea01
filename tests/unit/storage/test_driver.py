"""Payloads in a store, and what Temporal gets instead: a sealed claim that names nothing and swears to every byte."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.client import Client, OutboundInterceptor
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    ExternalStorage,
    StorageDriver,
    StorageDriverActivityInfo,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
    WorkflowSerializationContext,
)
from temporalio.exceptions import ApplicationError
from temporalio.plugin import SimplePlugin

from envelope_codec import (
    ConfigurationError,
    ContextMismatch,
    EncryptionRequired,
    EnvelopeConfig,
    EnvelopePlugin,
    InvalidCiphertext,
    MalformedEnvelope,
    PayloadMissing,
    StoreRefused,
    StoreUnavailable,
)
from envelope_codec.envelope import parse
from envelope_codec.keys.flight import Stop, stopping
from envelope_codec.storage.claim import Claim
from envelope_codec.storage.driver import EnvelopeDriver, Pool
from envelope_codec.storage.external import ScheduleMemos
from envelope_codec.storage.foreign import ForeignDriver
from envelope_codec.store import PayloadStore, Stored, StoreUrl, parse_store_url
from envelope_codec.temporal.codec import EnvelopeCodec, is_envelope
from envelope_codec.testing import FakeKms

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"a text of some length"')
ANYWHERE = StorageDriverStoreContext()
READING = StorageDriverRetrieveContext()


class Memory:
    """A `PayloadStore` with faults to inject."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.failures: list[Exception] = []
        self.calls = 0
        self.closed = 0
        self.under_way = self.most = 0
        self.silent = 0  # calls that get no answer
        self.seconds = 0.0  # for one

    async def _call(self) -> None:
        self.calls += 1
        if self.silent:
            self.silent -= 1
            await asyncio.Event().wait()
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(self.seconds)
        self.under_way -= 1
        if self.failures:
            raise self.failures.pop(0)

    async def put(self, id: str, data: bytes) -> None:
        await self._call()
        self.kept[id] = data

    async def get(self, id: str) -> bytes:
        await self._call()
        try:
            return self.kept[id]
        except KeyError:
            raise PayloadMissing("the datastore has no such payload") from None

    async def delete(self, id: str) -> None:
        self.kept.pop(id, None)

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        for id, data in self.kept.items():
            yield Stored(id, 0.0, len(data))

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        self.closed += 1


class MemoryUrl(StoreUrl):
    """Opens one `Memory`, whatever it is asked."""

    memory: Memory

    def open(self) -> PayloadStore:
        return self.memory


def driver_of(memory: Memory, **settings: Any) -> EnvelopeDriver:
    url = MemoryUrl("mine", "memory://")
    url.memory = memory
    return EnvelopeDriver(Pool(url), EnvelopeCodec(EnvelopeConfig(key=FakeKms(), **settings)))


async def sealed(driver: EnvelopeDriver, count: int = 1) -> list[Payload]:
    return await driver.codec.encode([PLAIN] * count)


async def test_what_was_stored_comes_back_and_the_claim_tells_nothing() -> None:
    memory = Memory()
    driver = driver_of(memory)
    payloads = await sealed(driver, 3)
    claims = await driver.store(ANYWHERE, payloads)
    assert await driver.retrieve(READING, claims) == payloads
    assert len(memory.kept) == 3
    for claim, (id, data) in zip(claims, memory.kept.items(), strict=True):
        [(field, text)] = claim.claim_data.items()
        assert field == "envelope"
        envelope = Payload.FromString(base64.b64decode(text))
        assert is_envelope(envelope)
        assert id.encode() not in envelope.SerializeToString()
        assert Payload.FromString(data) in payloads
    assert await driver.store(ANYWHERE, []) == []


async def test_ids_are_random() -> None:
    memory = Memory()
    driver = driver_of(memory)
    [payload] = await sealed(driver)
    await driver.store(ANYWHERE, [payload, payload])
    assert len(memory.kept) == 2
    assert all(len(id) == 32 for id in memory.kept)


async def test_a_claim_is_sealed_for_the_namespace_and_the_tenant_it_belongs_to() -> None:
    tenant = FakeKms()
    driver = driver_of(
        Memory(), resolver=lambda context: tenant if context.workflow_id == "w" else None, decrypt_keys=[tenant]
    )
    target = StorageDriverWorkflowInfo(namespace="another", id="w")
    [claim] = await driver.store(StorageDriverStoreContext(target=target), await sealed(driver))
    envelope = Payload.FromString(base64.b64decode(claim.claim_data["envelope"]))
    parsed = parse(envelope.metadata, envelope.data)
    assert parsed is not None
    assert parsed.record.namespace == "another"
    assert parsed.record.recipients[0].key_id == tenant.key_id


async def test_plaintext_is_never_stored() -> None:
    memory = Memory()
    with pytest.raises(EncryptionRequired):
        await driver_of(memory).store(ANYWHERE, [PLAIN])
    assert memory.kept == {}


@pytest.mark.parametrize("change", ["flip", "cut", "longer", "swap", "garbage", "empty"])
async def test_other_bytes_than_were_stored_are_noticed(change: str) -> None:
    memory = Memory()
    driver = driver_of(memory)
    claims = await driver.store(ANYWHERE, await sealed(driver, 2))
    (first, data), (_, other) = memory.kept.items()
    memory.kept[first] = {
        "flip": data[:-1] + bytes([data[-1] ^ 1]),
        "cut": data[:-1],
        "longer": data + b"\0",
        "swap": other,
        "garbage": b"\xff" * len(data),
        "empty": b"",
    }[change]
    with pytest.raises(InvalidCiphertext, match="other bytes"):
        await driver.retrieve(READING, claims[:1])


async def test_a_missing_payload_has_an_error_of_its_own_and_is_asked_for_once() -> None:
    memory = Memory()
    driver = driver_of(memory)
    claims = await driver.store(ANYWHERE, await sealed(driver))
    memory.kept.clear()
    memory.calls = 0
    with pytest.raises(PayloadMissing):
        await driver.retrieve(READING, claims)
    assert memory.calls == 1


async def test_a_store_that_is_out_is_asked_again() -> None:
    memory = Memory()
    driver = driver_of(memory)
    memory.failures = [StoreUnavailable("out"), RuntimeError("a secret"), StoreUnavailable("out")]
    claims = await driver.store(ANYWHERE, await sealed(driver))
    assert memory.calls == 4
    assert len(await driver.retrieve(READING, claims)) == 1


@pytest.mark.slow
async def test_a_store_that_can_not_be_opened_any_more_is_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """A profile of the AWS configuration, for instance, is gone when a new event loop or a child wants it."""
    pytest.importorskip("botocore")
    config = tmp_path / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    config.write_text("[profile shop]\nregion = us-east-1\n")
    url = parse_store_url("s3://bucket?profile=shop&endpoint=http://127.0.0.1:1")
    codec = EnvelopeCodec(EnvelopeConfig(key=FakeKms("fakekms://k"), timeout=0.3))
    driver = EnvelopeDriver(Pool(url), codec)
    [sealed] = await codec.encode([PLAIN])
    claim = StorageDriverClaim({"bucket": "bucket", "hash_algorithm": "sha256", "key": "k", "hash_value": ""})
    config.write_text("")
    for call in (driver.store(ANYWHERE, [sealed]), driver.retrieve(READING, [claim])):
        with pytest.raises(StoreUnavailable, match="can't be opened any more") as caught:
            await call
        assert "shop" not in str(caught.value)
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "shop" in record.getMessage()
    config.write_text("[profile shop]\nregion = us-east-1\n")
    with pytest.raises(StoreUnavailable, match="AWS credentials"):  # so it was opened
        await driver.store(ANYWHERE, [sealed])
    codec.close()


async def test_patience_ends(caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory()
    driver = driver_of(memory, timeout=0.3)
    memory.failures = [RuntimeError("a secret")] * 100
    with pytest.raises(StoreUnavailable) as caught:
        await driver.store(ANYWHERE, await sealed(driver))
    assert "secret" not in str(caught.value)
    assert "failed unexpectedly: RuntimeError" in caplog.text
    assert "secret" not in caplog.text
    assert 1 < memory.calls < 10


async def test_a_call_that_the_store_itself_cancels_is_made_again() -> None:
    """As calls end when a store is closed. A cancellation that nobody asked for would leave a workflow stuck."""
    memory = Memory()
    driver = driver_of(memory)
    memory.failures = [asyncio.CancelledError()]  # type: ignore[list-item]
    assert len(await driver.store(ANYWHERE, await sealed(driver))) == 1
    assert memory.calls == 2


async def test_nothing_waits_for_a_shutdown_when_a_call_is_done() -> None:
    driver, stop = driver_of(Memory()), Stop()
    payloads = await sealed(driver)
    token = stopping.set(stop)
    await driver.retrieve(READING, await driver.store(ANYWHERE, payloads))
    stopping.reset(token)
    assert not stop._listeners


async def test_a_refusal_is_told_at_once() -> None:
    memory = Memory()
    driver = driver_of(memory)
    memory.failures = [StoreRefused("no")]
    with pytest.raises(StoreRefused):
        await driver.store(ANYWHERE, await sealed(driver))
    assert memory.calls == 1


async def test_a_workers_shutdown_ends_patience_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envelope_codec.storage.driver._AT_SHUTDOWN", 0.0)
    memory = Memory()
    driver = driver_of(memory, timeout=1_000)
    memory.failures = [StoreUnavailable("out")] * 10_000
    stop = Stop()
    token = stopping.set(stop)
    task = asyncio.ensure_future(driver.store(ANYWHERE, await sealed(driver)))
    stopping.reset(token)
    while memory.calls < 2:  # noqa: ASYNC110 - the memory is no event
        await asyncio.sleep(0)
    stop.set()
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(task, 60)


async def test_a_call_without_an_answer_is_given_up_and_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envelope_codec.storage.driver._CALL", 0.05)
    monkeypatch.setattr("envelope_codec.storage.driver._SLOWEST", 2**40)
    memory = Memory()
    driver = driver_of(memory)
    memory.silent = 40  # more than there are slots
    claims = await driver.store(ANYWHERE, await sealed(driver, 50))
    assert memory.silent == 0
    assert len(await driver.retrieve(READING, claims)) == 50


class Hanging(NamedTuple):
    """A store all of whose slots are taken by calls without an answer."""

    memory: Memory
    driver: EnvelopeDriver
    calls: asyncio.Task[Any]

    async def assert_all_slots_come_back(self) -> None:
        self.calls.cancel()
        await asyncio.wait([self.calls])
        self.memory.silent = self.memory.under_way = self.memory.most = 0
        self.memory.seconds = 0.01
        await self.driver.store(ANYWHERE, await sealed(self.driver, 100))
        assert self.memory.most == 32


@pytest.fixture
async def hanging(monkeypatch: pytest.MonkeyPatch) -> Hanging:
    monkeypatch.setattr("envelope_codec.storage.driver._CALL", 1_000.0)
    memory = Memory()
    memory.silent = 32
    driver = driver_of(memory)
    calls = asyncio.ensure_future(driver.store(ANYWHERE, await sealed(driver, 32)))
    while memory.silent:  # noqa: ASYNC110 - the memory is no event
        await asyncio.sleep(0)
    return Hanging(memory, driver, calls)


async def test_waiting_for_a_slot_counts_towards_the_deadline(hanging: Hanging) -> None:
    config = EnvelopeConfig(key=FakeKms(), timeout=0.1)
    impatient = EnvelopeDriver(hanging.driver.pool, EnvelopeCodec(config))
    with pytest.raises(StoreUnavailable, match="did not answer"):
        await asyncio.wait_for(impatient.store(ANYWHERE, await sealed(impatient)), 60)
    assert hanging.memory.calls == 32
    await hanging.assert_all_slots_come_back()


async def test_a_workers_shutdown_ends_waiting_for_a_slot(hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envelope_codec.storage.driver._AT_SHUTDOWN", 0.0)
    stop = Stop()
    token = stopping.set(stop)
    patient = EnvelopeDriver(hanging.driver.pool, EnvelopeCodec(EnvelopeConfig(key=FakeKms(), timeout=1_000)))
    task = asyncio.ensure_future(patient.store(ANYWHERE, await sealed(patient)))
    await asyncio.sleep(0.01)
    stopping.reset(token)
    assert not task.done()
    stop.set()
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(task, 60)
    await hanging.assert_all_slots_come_back()


async def test_who_is_cancelled_while_waiting_for_a_slot_takes_none(hanging: Hanging) -> None:
    waiting = [asyncio.ensure_future(hanging.driver.store(ANYWHERE, [one])) for one in await sealed(hanging.driver, 50)]
    await asyncio.sleep(0.01)
    hanging.calls.cancel()
    for number, task in enumerate(waiting):  # some before a slot is theirs, some at that moment, some after it
        task.cancel()
        if number % 5 == 0:
            await asyncio.sleep(0)
    await asyncio.wait(waiting)
    assert all(task.cancelled() or not task.exception() for task in waiting)
    await hanging.assert_all_slots_come_back()


async def test_a_large_payload_has_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envelope_codec.storage.driver._CALL", 0.0)
    monkeypatch.setattr("envelope_codec.storage.driver._SLOWEST", 10)
    memory = Memory()
    driver = driver_of(memory, timeout=0.01)
    memory.seconds = 0.01
    [payload] = await sealed(driver)
    assert payload.ByteSize() > 100  # which is worth 10 seconds
    claims = await driver.store(ANYWHERE, [payload])
    assert await driver.retrieve(READING, claims) == [payload]
    monkeypatch.setattr("envelope_codec.storage.driver._SLOWEST", 2**40)
    with pytest.raises(StoreUnavailable, match="did not answer"):
        await driver.retrieve(READING, claims)


# --- where a payload belongs -----------------------------------------------------------------------------------------

WORKFLOW = WorkflowSerializationContext(namespace="here", workflow_id="w")
ACTIVITY = ActivitySerializationContext(
    namespace="here",
    activity_id="a",
    activity_type="t",
    activity_task_queue="q",
    workflow_id="w",
    workflow_type="t",
    is_local=False,
)


async def test_activities_have_more_patience(url: str) -> None:
    """One that can't read its heartbeat details fails for good; one whose result is not stored runs again."""
    memory = Memory()
    driver = driver_of(memory, timeout=0.2, activity_timeout=60)
    memory.failures = [StoreUnavailable("out")] * 4  # for a second at least
    with pytest.raises(StoreUnavailable):
        await driver.with_context(WORKFLOW).store(ANYWHERE, await sealed(driver))
    memory.failures = [StoreUnavailable("out")] * 4
    claims = await driver.with_context(ACTIVITY).store(ANYWHERE, await sealed(driver))
    memory.failures = [StoreUnavailable("out")] * 4
    assert len(await driver.with_context(ACTIVITY).retrieve(READING, claims)) == 1


async def test_the_sdk_says_where_a_payload_belongs(url: str) -> None:
    """Guards the way that it is told: nothing documents that it asks storage as it asks codecs."""
    theirs = ExternalStorage(drivers=[Theirs("theirs")])
    base = DataConverter(external_storage=theirs)
    with EnvelopePlugin(FakeKms(), storage=url, timeout=7, activity_timeout=77) as plugin:
        converter = (await client(plugin, data_converter=base)).data_converter
        for context, seconds in ((WORKFLOW, 7), (ACTIVITY, 77)):
            storage = converter._with_contexts(context, ANYWHERE).external_storage
            assert storage is not None
            [ours, other] = storage.drivers
            assert isinstance(ours, EnvelopeDriver)
            assert (ours._timeout, ours.codec.namespace) == (seconds, "here")
            assert isinstance(other, ForeignDriver)
            assert other.driver is theirs.drivers[0]
            assert storage.driver_selector is not None
            assert storage.driver_selector(None, PLAIN) is ours  # type: ignore[arg-type]
            assert storage.payload_size_threshold == 262_144


async def test_a_claim_of_another_namespace_is_refused() -> None:
    driver = driver_of(Memory())
    claims = await driver.with_context(WORKFLOW).store(ANYWHERE, await sealed(driver))
    elsewhere = driver.with_context(WorkflowSerializationContext(namespace="there", workflow_id="w"))
    with pytest.raises(ContextMismatch):
        await elsewhere.retrieve(READING, claims)
    assert len(await driver.retrieve(READING, claims)) == 1


async def test_a_tenants_claim_is_sealed_for_the_tenant_in_activities_too() -> None:
    """The SDK names no workflow where it stores heartbeat details, but in the context."""
    tenant = FakeKms()
    driver = driver_of(
        Memory(), resolver=lambda context: tenant if context.workflow_id == "w" else None, decrypt_keys=[tenant]
    )
    target = StorageDriverActivityInfo(namespace="here", id="a")
    [claim] = await driver.with_context(ACTIVITY).store(StorageDriverStoreContext(target), await sealed(driver))
    envelope = Payload.FromString(base64.b64decode(claim.claim_data["envelope"]))
    parsed = parse(envelope.metadata, envelope.data)
    assert parsed is not None
    assert parsed.record.recipients[0].key_id == tenant.key_id


# --- batches ---------------------------------------------------------------------------------------------------------


async def test_batches_are_concurrent_within_a_limit() -> None:
    memory = Memory()
    driver = driver_of(memory)
    claims = await driver.store(ANYWHERE, await sealed(driver, 100))
    assert 2 < memory.most <= 32
    assert len(await driver.retrieve(READING, claims)) == 100


async def test_the_first_failure_of_a_batch_ends_it() -> None:
    memory = Memory()
    driver = driver_of(memory)
    payloads = await sealed(driver, 5)
    memory.silent, memory.failures = 4, [StoreRefused("no")]
    with pytest.raises(StoreRefused):
        await driver.store(ANYWHERE, payloads)
    for _ in range(3):  # what was called is cancelled, and not waited for
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


# --- claims ----------------------------------------------------------------------------------------------------------


async def claim_of(codec: EnvelopeCodec, content: bytes, encoding: bytes = b"json/envelope-codec-claim") -> str:
    [payload] = await codec.encode([Payload(metadata={"encoding": encoding}, data=content)])
    return base64.b64encode(payload.SerializeToString()).decode()


GOOD = json.dumps({"id": "0" * 32, "sha256": "0" * 64, "size": 1}).encode()
UNSEALED = Payload(metadata={"encoding": b"json/envelope-codec-claim"}, data=GOOD)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"envelope": ""},
        {"envelope": "no base64!"},
        {"envelope": base64.b64encode(b"\xff").decode()},
        {"envelope": base64.b64encode(PLAIN.SerializeToString()).decode()},
        {"envelope": base64.b64encode(UNSEALED.SerializeToString()).decode()},
        {"envelope": "A" * 70_000},
        {"bucket": "b", "key": "k"},
    ],
)
async def test_a_claim_that_is_not_sealed_by_us_is_refused(data: dict[str, str]) -> None:
    memory = Memory()
    with pytest.raises(MalformedEnvelope):
        await driver_of(memory).retrieve(READING, [StorageDriverClaim(data)])
    assert memory.calls == 0


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"[]", b"json/envelope-codec-claim"),
        (b"{}", b"json/envelope-codec-claim"),
        (b"\xff", b"json/envelope-codec-claim"),
        (GOOD, b"json/plain"),
        (GOOD.replace(b"0" * 64, b"0"), b"json/envelope-codec-claim"),
        (b"[" * 40_000, b"json/envelope-codec-claim"),
    ],
)
async def test_a_sealed_payload_that_is_no_claim_is_refused(content: bytes, encoding: bytes) -> None:
    """Whoever can have anything sealed must not be able to make claims of his own."""
    driver = driver_of(Memory())
    text = await claim_of(driver.codec, content, encoding)
    with pytest.raises(MalformedEnvelope, match="not a reference"):
        await driver.retrieve(READING, [StorageDriverClaim({"envelope": text})])


@pytest.mark.parametrize("id", [7, None, "../../etc/passwd", "0" * 31, "G" * 32])
async def test_an_id_that_no_driver_made_is_refused(id: Any) -> None:
    driver = driver_of(Memory())
    content = json.dumps({"id": id, "sha256": "0" * 64, "size": 1}).encode()
    text = await claim_of(driver.codec, content)
    with pytest.raises(MalformedEnvelope, match="not a reference"):
        await Claim.opened({"envelope": text}, driver.codec)


@pytest.mark.parametrize("size", [-1, 2**31, 10**400, True, 1.5, "1", None], ids=lambda size: str(size)[:9])
async def test_a_size_that_no_payload_has_is_refused(size: Any) -> None:
    """It says how long a call may take."""
    driver = driver_of(Memory())
    content = json.dumps({"id": "0" * 32, "sha256": "0" * 64, "size": size}).encode()
    with pytest.raises(MalformedEnvelope, match="not a reference"):
        await driver.retrieve(READING, [StorageDriverClaim({"envelope": await claim_of(driver.codec, content)})])


# --- pools -----------------------------------------------------------------------------------------------------------


class Opened(StoreUrl):
    """Opens a `Memory` each time, and takes them down."""

    stores: list[Memory]

    def open(self) -> PayloadStore:
        self.stores.append(Memory())
        return self.stores[-1]


def opened() -> Opened:
    url = Opened("mine", "memory://")
    url.stores = []
    return url


def test_each_event_loop_has_a_store_of_its_own_and_closes_it() -> None:
    url = opened()
    pool = Pool(url)
    assert len(url.stores) == 1, "what is wrong with a URL is told at once"

    async def use(close: bool) -> None:
        assert pool.here() is pool.here()
        if close:
            await pool.aclose()
            await pool.aclose()

    for close in (True, False, False, False):
        asyncio.run(use(close))
    assert [memory.closed for memory in url.stores[1:]] == [1, 1, 1, 1]
    assert len(pool._loops.get()._loops) <= 1, "loops that have ended are forgotten"


def test_a_pool_that_is_closed_or_forgotten_closes_the_store_of_a_running_loop() -> None:
    async def wait_for(memory: Memory) -> None:
        while not memory.closed:  # noqa: ASYNC110 - the memory is no event
            await asyncio.sleep(0)

    async def closed() -> None:
        url = opened()
        pool = Pool(url)
        pool.here()
        pool.close()
        pool.close()
        await asyncio.wait_for(wait_for(url.stores[-1]), 60)
        assert url.stores[-1].closed == 1

    async def forgotten() -> None:
        url = opened()
        Pool(url).here()
        await asyncio.wait_for(wait_for(url.stores[-1]), 60)

    asyncio.run(closed())
    asyncio.run(forgotten())


def test_a_store_that_does_not_close_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envelope_codec.storage.driver._TO_CLOSE", 0.01)

    class Hanging(Memory):
        async def close(self) -> None:
            await asyncio.Event().wait()

    url = MemoryUrl("mine", "memory://")
    url.memory = Hanging()

    async def use() -> None:
        Pool(url).here()

    asyncio.run(use())


# --- the plugin's settings -------------------------------------------------------------------------------------------


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}"


async def client(*plugins: Any, **settings: Any) -> Client:
    return await Client.connect("127.0.0.1:1", lazy=True, plugins=plugins, **settings)


class Theirs(StorageDriver):
    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name

    async def store(self, context: Any, payloads: Any) -> Any:
        raise AssertionError("not asked")

    async def retrieve(self, context: Any, claims: Any) -> Any:
        raise AssertionError("not asked")


async def test_payloads_from_the_threshold_on_are_stored(url: str, tmp_path: Path) -> None:
    with EnvelopePlugin(FakeKms(), storage=url, storage_threshold="10KiB") as plugin:
        converter = (await client(plugin)).data_converter
        small, large = await converter.encode(["x" * 1_000, "x" * 20_000])
        assert is_envelope(small)
        assert large.metadata["messageType"] == ExternalStorageReference.DESCRIPTOR.full_name.encode()
        assert len(list(tmp_path.glob("*/*"))) == 1  # noqa: ASYNC240
        assert await converter.decode([small, large]) == ["x" * 1_000, "x" * 20_000]


def about_the_store() -> list[BaseException]:
    """What an activity fails with when its result can't be stored, and what may become of that."""
    wrapped = ApplicationError("the order was not kept")
    wrapped.__cause__ = StoreRefused("the bucket refused", operation="put")
    while_handling = ValueError("what a handler made of it")
    while_handling.__context__ = StoreUnavailable("the datastore did not answer", operation="get")
    told = ApplicationError("the datastore did not answer", type="StoreUnavailable")
    return [StoreUnavailable("the datastore did not answer", operation="put"), wrapped, while_handling, told]


async def test_a_failure_about_the_store_is_not_put_into_the_store(tmp_path: Path) -> None:
    gone = f"file://{tmp_path}/gone"
    converter = (await client(EnvelopePlugin(FakeKms(), storage=gone, storage_threshold=0, timeout=0.1))).data_converter
    for exception in about_the_store():
        failure = Failure()
        await asyncio.create_task(converter.encode_failure(exception, failure))
        assert is_envelope(failure.encoded_attributes)
        told = await converter.decode_failure(failure)
        assert isinstance(told, ApplicationError)
        assert told.message.endswith(str(exception).rpartition(": ")[2])
    large = ApplicationError("x", "y" * 100_000)
    large.__cause__ = StoreUnavailable("the datastore did not answer")
    with pytest.raises(StoreRefused):
        await asyncio.create_task(converter.encode_failure(large, Failure()))
    with pytest.raises(StoreRefused):
        await asyncio.create_task(converter.encode_failure(ValueError("of something else"), Failure()))


async def test_a_task_that_reports_such_a_failure_goes_on_storing(tmp_path: Path) -> None:
    class Server(OutboundInterceptor):
        def __init__(self) -> None: ...

        async def fail_async_activity(self, input: Any) -> None:
            failure = Failure()
            await converter.encode_failure(input.error, failure)
            assert is_envelope(failure.encoded_attributes)

    converter = (
        await client(EnvelopePlugin(FakeKms(), storage=f"file://{tmp_path}", storage_threshold=0))
    ).data_converter
    reported: Any = SimpleNamespace(error=StoreUnavailable("the datastore did not answer"))
    await ScheduleMemos().intercept_client(Server()).fail_async_activity(reported)
    [payload] = await converter.encode(["small"])
    assert not is_envelope(payload)


async def test_without_sealing_nothing_is_stored_and_what_was_is_read(url: str) -> None:
    kms = FakeKms()
    with (
        EnvelopePlugin(kms, storage=url, storage_threshold=0) as writing,
        EnvelopePlugin(kms, storage=url, storage_threshold=0, sealing=False) as reading,
        EnvelopePlugin(kms, former_storage=[url]) as later,
    ):
        stored = await (await client(writing)).data_converter.encode(["text"])
        for plugin in (reading, later):
            converter = (await client(plugin)).data_converter
            assert await converter.decode(stored) == ["text"]
            [payload] = await converter.encode(["text"])
            assert payload.metadata["encoding"] != b"json/protobuf"


async def test_users_drivers_stay_and_read_on(url: str) -> None:
    theirs = ExternalStorage(drivers=[Theirs("theirs")], payload_size_threshold=5)
    base = DataConverter(external_storage=theirs)
    with EnvelopePlugin(FakeKms(), storage=url, storage_threshold=0) as plugin:
        merged = (await client(plugin, data_converter=base)).data_converter.external_storage
        assert merged is not None
        assert [driver.name() for driver in merged.drivers] == ["envelope-file", "theirs"]
        assert merged.driver_selector is not None
        assert merged.driver_selector(None, PLAIN) is merged.drivers[0]  # type: ignore[arg-type]
    with EnvelopePlugin(FakeKms(), former_storage=[url]) as plugin:
        merged = (await client(plugin, data_converter=base)).data_converter.external_storage
        assert merged is not None
        assert merged.payload_size_threshold == 5
        assert merged.driver_selector is not None
        chosen = merged.driver_selector(None, PLAIN)  # type: ignore[arg-type]
        assert isinstance(chosen, ForeignDriver)
        assert chosen is merged.drivers[1]
        assert chosen.driver is theirs.drivers[0]


async def test_applied_twice_is_once_and_another_namespace_is_another_codec(url: str) -> None:
    with EnvelopePlugin(FakeKms(), storage=url) as plugin:
        once = await client(plugin)
        assert Client(**once.config(active_config=True)).data_converter is once.data_converter
        other = await client(plugin, namespace="other", data_converter=once.data_converter)
        storage = other.data_converter.external_storage
        assert storage is not None
        [driver] = storage.drivers
        assert isinstance(driver, EnvelopeDriver)
        assert driver.codec.namespace == "other"


async def test_a_later_plugin_that_takes_the_store_away_is_detected(url: str) -> None:
    def without(converter: DataConverter | None) -> DataConverter:
        assert converter is not None
        return dataclasses.replace(converter, external_storage=None)

    later = SimplePlugin("later", data_converter=without)
    with EnvelopePlugin(FakeKms(), storage=url) as plugin, pytest.raises(ConfigurationError, match="not use the data"):
        await client(plugin, later)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"storage": "nonsense"}, "storage: give a URL"),
        ({"storage": "nonsense://user:password@host"}, "no store for URL scheme 'nonsense'"),
        ({"storage": "file://host/path"}, "file:///absolute/path"),
        ({"storage": "file:///path?name=a b"}, "the option name is letters"),
        ({"storage": "file:///path?name=a&name=b"}, "the option name is letters"),
        ({"storage": "file:///path?color=red"}, "no option but name"),
        ({"storage": "redis://:password@host?color=red"}, "redis-py can't read the URL, or does not know an option"),
        ({"storage": "redis://:password@host/payloads"}, "redis-py can't read the URL"),
        ({"storage": "s3://bucket?addressing=sideways&region=us-east-1"}, "addressing style sideways is invalid"),
        ({"storage": "postgresql+psycopg2://u:password@host/db"}, "needs a missing package, psycopg2: pip install"),
        ({"storage": "postgresql+nothing://u:password@host/db"}, "can't make an engine of the URL"),
        ({"storage": "postgresql://u:password@host:port/db"}, "can't read the URL of the database"),
        ({"storage_threshold": 0}, "storage_threshold: goes with storage"),
        ({"storage": "file:///path", "storage_threshold": "many"}, "storage_threshold: give a size"),
        ({"storage": "file:///path", "storage_threshold": True}, "storage_threshold: give a size"),
        ({"storage": "file:///path", "former_storage": "file:///other"}, "two stores have one name"),
        ({"storage": "file:///path", "storage_threshold": -1}, "storage_threshold"),
        ({"storage": "file:///path", "former_storage": ["file:///other"]}, "two stores have one name"),
    ],
)
async def test_wrong_settings_are_told_and_no_password_with_them(settings: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        await client(EnvelopePlugin(FakeKms(), **settings))
    assert "password" not in str(caught.value)


def test_a_stores_name_may_be_chosen() -> None:
    assert parse_store_url("file:///a/b") == ("envelope-file", "file:///a/b")
    assert parse_store_url("file:///a/b?name=cold") == ("cold", "file:///a/b")
    assert parse_store_url("sqlite:////a/b.db?name=cold&timeout=1") == ("cold", "sqlite:////a/b.db?timeout=1")
    assert parse_store_url("sqlite:////a/b.db?name=cold") == ("cold", "sqlite:////a/b.db")
    url = "postgresql+psycopg://u:p@h:5/db?sslmode=require&name=main&table=t"
    assert parse_store_url(url) == ("main", "postgresql+psycopg://u:p@h:5/db?sslmode=require&table=t")
    assert parse_store_url("s3://bucket/prefix").name == "envelope-s3"


def test_a_configuration_shows_no_password() -> None:
    assert "password" not in repr(parse_store_url("redis://:password@host"))
    config = EnvelopeConfig(
        key=FakeKms(), storage="postgresql://u:password@h/db", former_storage=["redis://:password@h"]
    )
    assert "password" not in repr(config)
