"""The plugin beside other plugins, given twice, closed too early, and used from two event loops."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from devstack import TemporalServer
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, ClientConfig
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.plugin import SimplePlugin
from temporalio.worker import Worker

from envelope_codec import ConfigurationError, EnvelopePlugin, Event, KmsUnavailable
from envelope_codec.cli.demo.search import Needles
from envelope_codec.temporal.client_check import Guard
from envelope_codec.temporal.client_memos import NullMemos
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.temporal.payload_walk import payloads_in
from envelope_codec.temporal.prewarm import Prewarm
from envelope_codec.testing import FakeKms
from tests.support.context_header import NAME as HEADER
from tests.support.context_header import ContextHeader
from tests.support.pydantic_workflow import Invoice, Pay
from tests.support.server_records import events
from tests.support.small_workflows import Hello


class Counted(NamedTuple):
    """A plugin, and how many payloads it has sealed and opened."""

    plugin: EnvelopePlugin
    payloads: Counter[str]


@pytest.fixture
def counted(kms: FakeKms) -> Any:
    class Observer:
        def __init__(self) -> None:
            self.payloads: Counter[str] = Counter()

        def on_event(self, event: Event) -> None:
            self.payloads[event.operation] += event.payloads

    observer = Observer()
    with EnvelopePlugin(kms, observer=observer, startup_jitter=0) as plugin:
        yield Counted(plugin, observer.payloads)


AGAIN: dict[str, Callable[[Client], Client]] = {
    "the list": lambda client: client,
    "the worker": lambda client: client,
    "config()": lambda client: Client(**client.config()),
    "the active configuration": lambda client: Client(**client.config(active_config=True)),
    "the active configuration of that": lambda client: Client(
        **Client(**client.config(active_config=True)).config(active_config=True)
    ),
}


@pytest.mark.parametrize("where", AGAIN)
async def test_plugin_given_twice_works_once(
    where: str, temporal_server: TemporalServer, plain: Client, name: str, counted: Counted
) -> None:
    plugin = counted.plugin
    twice = [plugin, plugin] if where == "the list" else [plugin]
    client = AGAIN[where](await Client.connect(temporal_server.address, plugins=twice))
    if where == "the worker":
        with pytest.warns(UserWarning, match="present from both client and worker"):
            worker = Worker(client, task_queue=name, workflows=[Hello], plugins=[plugin])
    else:
        worker = Worker(client, task_queue=name, workflows=[Hello])
    async with worker:
        assert await client.execute_workflow(Hello.run, "Ada", id=name, task_queue=name) == "Hello, Ada!"

    assert counted.payloads["seal"] == counted.payloads["open"] == 2
    stored = [payload for event in await events(plain, name) for payload in payloads_in(event)]
    assert len(stored) == 2
    opened = await client.data_converter.payload_codec.decode(stored)  # type: ignore[union-attr]
    assert [dict(payload.metadata) for payload in opened] == [{"encoding": b"json/plain"}] * 2
    kinds = [type(interceptor) for interceptor in client.config(active_config=True)["interceptors"]]
    assert {Guard, NullMemos} <= set(kinds)
    assert len(kinds) == len(set(kinds)), "one of each kind"
    prewarms = worker.config(active_config=True)["interceptors"]
    assert [type(interceptor) for interceptor in prewarms].count(Prewarm) == 1


@pytest.mark.parametrize("order", ["before", "after"])
async def test_another_plugins_interceptors_send_sealed_headers(
    order: str, temporal_server: TemporalServer, plain: Client, name: str, counted: Counted
) -> None:
    theirs = SimplePlugin("theirs", interceptors=[ContextHeader("marigold")])
    plugins = [theirs, counted.plugin] if order == "before" else [counted.plugin, theirs]
    client = await Client.connect(temporal_server.address, plugins=plugins)
    counted.plugin.verify(client)
    async with Worker(client, task_queue=name, workflows=[Hello]):
        assert await client.execute_workflow(Hello.run, "Ada", id=name, task_queue=name) == "Hello, Ada!"
    started = (await events(plain, name))[0].workflow_execution_started_event_attributes
    assert is_envelope(started.header.fields[HEADER])


async def test_converter_of_a_plugin_before_ours_is_merged_with(
    temporal_server: TemporalServer, plain: Client, name: str, counted: Counted
) -> None:
    theirs = SimplePlugin("theirs", data_converter=pydantic_data_converter)
    client = await Client.connect(temporal_server.address, plugins=[theirs, counted.plugin])
    async with Worker(client, task_queue=name, workflows=[Pay]):
        invoice = Invoice(number="7", due="2026-03-01T12:00:00Z", lines={"pen": 2})  # type: ignore[arg-type]
        paid = await client.execute_workflow(Pay.run, invoice, id=name, task_queue=name)
    assert paid == invoice.model_copy(update={"number": "paid 7", "lines": {"pen": 2, "fee": 1}})
    assert all(is_envelope(payload) for event in await events(plain, name) for payload in payloads_in(event))


async def test_converter_of_a_plugin_after_ours_makes_no_client(
    temporal_server: TemporalServer, counted: Counted
) -> None:
    theirs = SimplePlugin("theirs", data_converter=DataConverter.default)
    with pytest.raises(ConfigurationError, match=r"does not encrypt.*last in the list"):
        await Client.connect(temporal_server.address, plugins=[counted.plugin, theirs])


class Wrapped(PayloadCodec):
    """A later plugin's codec around ours, which can't be seen in it."""

    def __init__(self, codec: PayloadCodec) -> None:
        self._codec = codec

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self._codec.encode(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self._codec.decode(payloads)


async def test_codec_of_a_plugin_after_ours_in_which_it_can_not_be_seen_makes_no_client(
    temporal_server: TemporalServer, counted: Counted
) -> None:
    def wrap(converter: DataConverter | None) -> DataConverter:
        assert converter is not None
        assert converter.payload_codec is not None
        return replace(converter, payload_codec=Wrapped(converter.payload_codec))

    theirs = SimplePlugin("theirs", data_converter=wrap)
    with pytest.raises(ConfigurationError, match="does not encrypt"):
        await Client.connect(temporal_server.address, plugins=[counted.plugin, theirs])


class Alone(SimplePlugin):
    """Drops whatever other plugins have set."""

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        config["interceptors"] = []
        config["data_converter"] = DataConverter.default
        return config


async def test_plugin_after_ours_that_drops_our_check_as_well_is_found_by_verify_and_by_workers(
    temporal_server: TemporalServer, name: str, counted: Counted
) -> None:
    client = await Client.connect(temporal_server.address, plugins=[counted.plugin, Alone("alone")])
    with pytest.raises(ConfigurationError, match="does not encrypt"):
        counted.plugin.verify(client)
    with pytest.raises(ConfigurationError, match="does not encrypt"):
        Worker(client, task_queue=name, workflows=[Hello])


async def test_two_plugins_on_one_client_make_no_client(temporal_server: TemporalServer, counted: Counted) -> None:
    with EnvelopePlugin(FakeKms()) as other, pytest.raises(ConfigurationError, match="by another EnvelopePlugin"):
        await Client.connect(temporal_server.address, plugins=[counted.plugin, other])


async def test_worker_of_a_plugin_that_was_closed_ends_at_once(
    temporal_server: TemporalServer, name: str, counted: Counted
) -> None:
    client = await Client.connect(temporal_server.address, plugins=[counted.plugin])
    counted.plugin.close()
    with pytest.raises(KmsUnavailable, match="has been closed"):
        await asyncio.wait_for(Worker(client, task_queue=name, workflows=[Hello]).run(), 20)
    with pytest.raises(KmsUnavailable, match="has been closed"):
        await client.start_workflow(Hello.run, "Ada", id=name, task_queue=name)


async def test_client_serves_two_event_loops_at_a_time(
    temporal_server: TemporalServer, name: str, counted: Counted, kms: FakeKms
) -> None:
    client = await Client.connect(temporal_server.address, plugins=[counted.plugin])
    loops = set[int]()

    async def greet(whom: str) -> list[str]:
        loops.add(id(asyncio.get_running_loop()))
        runs = [
            client.execute_workflow(Hello.run, whom, id=f"{name} {whom} {number}", task_queue=name)
            for number in range(10)
        ]
        return await asyncio.gather(*runs)

    async with Worker(client, task_queue=name, workflows=[Hello]):
        here, there = await asyncio.gather(greet("Ada"), asyncio.to_thread(lambda: asyncio.run(greet("Bob"))))
    assert here == ["Hello, Ada!"] * 10
    assert there == ["Hello, Bob!"] * 10
    assert len(loops) == 2
    assert kms.wraps == 1


@pytest.mark.parametrize("order", ["before", "after"])
async def test_plugin_of_a_language_model(
    order: str, temporal_server: TemporalServer, plain: Client, name: str, counted: Counted
) -> None:
    testing = pytest.importorskip("temporalio.google_genai.testing")
    from tests.support.language_model_workflow import Assistant, capital

    model = testing.GeminiTestServer(
        [
            testing.function_call_response("capital", {"country": "Marigoldia"}),
            testing.text_response("It is Marigold City."),
        ]
    )
    theirs = model.plugin()
    plugins = [theirs, counted.plugin] if order == "before" else [counted.plugin, theirs]
    client = await Client.connect(temporal_server.address, plugins=plugins)
    async with Worker(client, task_queue=name, workflows=[Assistant], activities=[capital]):
        run = client.execute_workflow(Assistant.run, "Where does Marigoldia govern?", id=name, task_queue=name)
        assert await asyncio.wait_for(run, 100) == "It is Marigold City."
    assert "the capital of Marigoldia" in str(model.requests[1])
    stored = await events(plain, name)
    assert all(is_envelope(payload) for event in stored for payload in payloads_in(event))
    needles = Needles(["Marigold"])
    assert all(needles.find_in(event.SerializeToString()) == set() for event in stored)
