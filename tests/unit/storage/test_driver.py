"""The driver puts payloads into a store, and gives Temporal claims on them."""

from __future__ import annotations

import asyncio
import base64

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    StorageDriverActivityInfo,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
    WorkflowSerializationContext,
)

from envelope_codec import (
    ContextMismatch,
    EncryptionRequired,
    InvalidCiphertext,
    PayloadMissing,
    StoreRefused,
    StoreUnavailable,
)
from envelope_codec.envelope import parse
from envelope_codec.keys.stop import Stop, stopping
from envelope_codec.store import TooLarge
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.temporal.large_payloads import LARGE
from envelope_codec.testing import FakeKms
from tests.support.memory_store import ANYWHERE, PLAIN, READING, Memory, driver_of, sealed


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


async def test_large_payload_comes_back_and_a_changed_one_does_not() -> None:
    memory = Memory()
    driver = driver_of(memory)
    [payload] = await driver.codec.encode([Payload(data=bytes(2 * LARGE))])
    claims = await driver.store(ANYWHERE, [payload])
    assert await driver.retrieve(READING, claims) == [payload]
    [(id, data)] = memory.kept.items()
    memory.kept[id] = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(InvalidCiphertext, match="other bytes than were stored"):
        await driver.retrieve(READING, claims)


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


async def test_more_bytes_than_were_stored_have_an_error_of_their_own_and_are_asked_for_once() -> None:
    memory = Memory()
    driver = driver_of(memory)
    claims = await driver.store(ANYWHERE, await sealed(driver))
    [(id, data)] = memory.kept.items()
    memory.kept[id] = data + b"\0"
    memory.calls = 0
    with pytest.raises(TooLarge, match="other bytes than were stored"):
        await driver.retrieve(READING, claims)
    assert memory.calls == 1


async def test_a_store_that_bounds_its_replies_is_told_the_size_that_the_claim_knows() -> None:
    asked = []

    class Bounded(Memory):
        async def get_within(self, id: str, limit: int) -> bytes:
            asked.append(limit)
            return await self.get(id)

    memory = Bounded()
    driver = driver_of(memory)
    claims = await driver.store(ANYWHERE, await sealed(driver))
    await driver.retrieve(READING, claims)
    [(id, data)] = memory.kept.items()
    assert asked == [len(data)]
    memory.kept[id] += b"\0"  # and it is not believed
    with pytest.raises(TooLarge):
        await driver.retrieve(READING, claims)


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
    monkeypatch.setattr("envelope_codec.storage.retry._AT_SHUTDOWN", 0.0)
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
    monkeypatch.setattr("envelope_codec.storage.driver._CALL_SECONDS", 0.05)
    monkeypatch.setattr("envelope_codec.storage.driver._BYTES_A_SECOND", 2**40)
    memory = Memory()
    driver = driver_of(memory)
    memory.silent = 40  # more than there are slots
    claims = await driver.store(ANYWHERE, await sealed(driver, 50))
    assert memory.silent == 0
    assert len(await driver.retrieve(READING, claims)) == 50


async def test_a_large_payload_has_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envelope_codec.storage.driver._CALL_SECONDS", 0.0)
    monkeypatch.setattr("envelope_codec.storage.driver._BYTES_A_SECOND", 10)
    memory = Memory()
    driver = driver_of(memory)
    memory.seconds = 0.01
    [payload] = await sealed(driver)
    driver._timeout = 0.01
    assert payload.ByteSize() > 100  # which is worth 10 seconds
    claims = await driver.store(ANYWHERE, [payload])
    assert await driver.retrieve(READING, claims) == [payload]
    monkeypatch.setattr("envelope_codec.storage.driver._BYTES_A_SECOND", 2**40)
    with pytest.raises(StoreUnavailable, match="did not answer"):
        await driver.retrieve(READING, claims)


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


async def test_activities_have_more_patience() -> None:
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
