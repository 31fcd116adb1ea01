"""The plugin beside the user's converters, codec and storage, in direct mode, and under the workflow sandbox."""

from __future__ import annotations

import random
import threading
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    FailureConverter,
    PayloadCodec,
    PayloadConverter,
)
from temporalio.worker import Worker

import envelope_codec
import envelope_codec_local
from envelope_codec import EnvelopeCodec, Event
from envelope_codec.cli.demo.search import Needles
from envelope_codec.envelope import Envelope, Purpose, parse
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.temporal.payload_walk import payloads_in
from envelope_codec.temporal.system_payloads import describe_clear_payload
from envelope_codec.testing import FakeKms
from tests.support.context_header import ContextHeader
from tests.support.importing_workflow import ImportsTheLibrary
from tests.support.long_lived_workflows import Errand, Errands
from tests.support.memory_storage_driver import MemoryDriver, storage
from tests.support.pydantic_workflow import Invoice, Pay
from tests.support.server_records import events
from tests.support.small_workflows import Delegate, Hello, Work


async def stored_envelopes(plain: Client, workflow_id: str) -> list[Envelope]:
    """Every payload of a history; all are envelopes."""
    payloads = [payload for event in await events(plain, workflow_id) for payload in payloads_in(event)]
    assert payloads
    assert all(map(is_envelope, payloads))
    return [envelope for payload in payloads if (envelope := parse(payload.metadata, payload.data))]


class Seals:
    """An observer that counts sealed payloads."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def on_event(self, event: Event) -> None:
        with self._lock:
            self.counts[event.operation, event.outcome] += event.payloads or 1


async def test_direct_mode_asks_the_kms_for_each_payload(connect: Any, plain: Client, name: str, kms: FakeKms) -> None:
    seals, work = Seals(), Work()
    client, _ = await connect(kms, wrapping="direct", observer=seals)
    async with Worker(client, task_queue=name, workflows=[Delegate], activities=[work.echo]):
        result = await client.execute_workflow(Delegate.run, args=["echo", name, "something"], id=name, task_queue=name)
    assert result == "echo of something"
    envelopes = await stored_envelopes(plain, name)
    assert len(envelopes) == 6
    assert {envelope.record.purpose for envelope in envelopes} == {Purpose.DATA_KEY}
    assert len({envelope.record.id for envelope in envelopes}) == 6
    assert seals.counts["seal", "ok"] >= 6
    assert kms.wraps - seals.counts["seal", "ok"] in (0, 1), "one more if the worker's start was first"


async def test_pydantic_models(connect: Any, plain: Client, name: str, kms: FakeKms) -> None:
    client, _ = await connect(kms, data_converter=pydantic_data_converter)
    due = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
    async with Worker(client, task_queue=name, workflows=[Pay]):
        invoice = Invoice(number="7", due=due, lines={"pen": 2})
        paid = await client.execute_workflow(Pay.run, invoice, id=name, task_queue=name)
    assert paid == Invoice(number="paid 7", due=due, lines={"pen": 2, "fee": 1})
    assert len(await stored_envelopes(plain, name)) == 2


class Zlib(PayloadCodec):
    """What many have: compression."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload(metadata={"encoding": b"binary/zlib"}, data=zlib.compress(payload.SerializeToString()))
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload.FromString(zlib.decompress(payload.data))
            if payload.metadata["encoding"] == b"binary/zlib"
            else payload
            for payload in payloads
        ]


@pytest.mark.parametrize("compression", ["none", "zstd"])
async def test_users_codec_compresses_before_it_is_too_late(
    compression: str, connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    converter = replace(DataConverter.default, payload_codec=Zlib())
    client, _ = await connect(kms, data_converter=converter, compression=compression)
    text = "many words that repeat. " * 4_000
    async with Worker(client, task_queue=name, workflows=[Hello]):
        assert await client.execute_workflow(Hello.run, text, id=name, task_queue=name) == f"Hello, {text}!"
    envelopes = await stored_envelopes(plain, name)
    assert len(envelopes) == 2
    assert max(len(envelope.data) for envelope in envelopes) < len(text) / 50


async def test_payloads_are_compressed_before_they_are_sealed_and_read_without_a_setting(
    connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    """The worker compresses, and who starts the workflow does not: each reads what the other wrote."""
    worker, _ = await connect(kms, compression="zstd")
    client, _ = await connect(kms)
    text = " ".join(f"{number} lamps, {number * 37 % 91} chairs" for number in range(3_000))
    async with Worker(worker, task_queue=name, workflows=[Hello]):
        assert await client.execute_workflow(Hello.run, text, id=name, task_queue=name) == f"Hello, {text}!"
    given, result = await stored_envelopes(plain, name)
    assert len(given.data) > len(text) > 3 * len(result.data)


async def test_large_payload_that_does_not_compress(connect: Any, plain: Client, name: str, kms: FakeKms) -> None:
    client, _ = await connect(kms)
    text = random.Random(7).randbytes(500_000).hex()
    async with Worker(client, task_queue=name, workflows=[Hello]):
        assert await client.execute_workflow(Hello.run, text, id=name, task_queue=name) == f"Hello, {text}!"
    assert len(await stored_envelopes(plain, name)) == 2


async def test_sandboxed_workflow_that_imports_the_library_gets_the_very_same(
    connect: Any, name: str, kms: FakeKms
) -> None:
    client, _ = await connect(kms)
    async with Worker(client, task_queue=name, workflows=[ImportsTheLibrary]):
        got = await client.execute_workflow(ImportsTheLibrary.run, id=name, task_queue=name)
    assert got == [id(envelope_codec.EnvelopeError), id(envelope_codec_local.LocalKeyFile)]


class Prefixing(DefaultFailureConverter):
    """A user's own: says where failures come from."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        super().to_failure(exception, payload_converter, failure)
        failure.message = f"[ours] {failure.message}"


@pytest.mark.parametrize(
    ("converter", "message"),
    [
        (DefaultFailureConverter, "marigold refused"),
        (DefaultFailureConverterWithEncodedAttributes, "marigold refused"),
        (Prefixing, "[ours] marigold refused"),
    ],
)
async def test_users_failure_converter_has_its_say_and_lets_nothing_out(
    converter: type[FailureConverter], message: str, connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    errand = Errand()
    client, _ = await connect(
        kms,
        data_converter=replace(DataConverter.default, failure_converter_class=converter),
        interceptors=[ContextHeader("a header")],
    )
    async with Worker(client, task_queue=name, workflows=[Errands], activities=[errand.carry, errand.refuse]):
        handle = await client.start_workflow(Errands.run, "errands", id=name, task_queue=name)
        await handle.signal(Errands.go, "marigold")
        await handle.signal(Errands.come_home)
        *_, refused = await handle.result()
    assert refused == f"{message}, details of marigold"
    stored = await events(plain, name)
    assert Needles(["marigold"]).find_in(b"".join(event.SerializeToString() for event in stored)) == set()
    assert any(event.activity_task_failed_event_attributes.failure.message == "Encoded failure" for event in stored)


async def test_pydantic_compression_failures_and_external_storage_together(
    connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    """Converted, compressed, sealed, stored: in this order, and back."""
    shelf = MemoryDriver()
    converter = replace(
        pydantic_data_converter,
        payload_codec=Zlib(),
        failure_converter_class=Prefixing,
        external_storage=storage(shelf, 1_000),
    )
    client, plugin = await connect(kms, data_converter=converter, require_encryption=True)
    due = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
    invoice = Invoice(number="7", due=due, lines={f"pen {random.Random(n).randbytes(8).hex()}": n for n in range(500)})
    async with Worker(client, task_queue=name, workflows=[Pay]):
        paid = await client.execute_workflow(Pay.run, invoice, id=name, task_queue=name)
    assert paid.lines == {**invoice.lines, "fee": 1}

    stored = [payload for event in await events(plain, name) for payload in payloads_in(event)]
    assert {describe_clear_payload(payload) for payload in stored} == {"reference to external storage"}
    assert len(shelf.stored) == 2
    assert all(map(is_envelope, shelf.stored))
    plainest = len(invoice.model_dump_json())
    assert all(len(payload.data) < plainest for payload in shelf.stored), "compressed before it was sealed"
    own = EnvelopeCodec(plugin.config, keyring=plugin.keyring)
    assert {p.metadata["encoding"] for p in await own.decode(shelf.stored)} == {b"binary/zlib"}
