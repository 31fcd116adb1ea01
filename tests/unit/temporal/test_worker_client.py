"""A client that a worker was given later, past every plugin, is noticed before user code gets it."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.testing import ActivityEnvironment

from envelope_codec import ConfigurationError, EnvelopePlugin, envelope_data_converter
from envelope_codec.temporal.prewarm import Prewarm
from envelope_codec.temporal.worker_client import WorkerClient
from envelope_codec.testing import FakeKms


async def client(*plugins: Any, converter: DataConverter = DataConverter.default) -> Client:
    return await Client.connect("localhost:1", lazy=True, plugins=plugins, data_converter=converter)


async def looked_at(plugin: EnvelopePlugin) -> WorkerClient:
    config: Any = plugin.configure_worker({"client": await client(plugin)})
    [prewarm] = [one for one in config["interceptors"] if isinstance(one, Prewarm)]
    found: WorkerClient = prewarm.client
    return found


async def in_activity(worker: WorkerClient, given: Client) -> None:
    async def activity() -> None:
        worker.check_in_activity()

    await ActivityEnvironment(client=given).run(activity)


async def test_a_client_that_does_not_encrypt_gets_to_no_activity(caplog: pytest.LogCaptureFixture) -> None:
    kms = FakeKms()
    with EnvelopePlugin(kms) as plugin, EnvelopePlugin(kms, sealing=False) as reading:
        worker = await looked_at(plugin)
        for _ in range(2):
            for stranger in (await client(), await client(reading)):
                with pytest.raises(ConfigurationError, match="the worker was given another client: the client does no"):
                    await in_activity(worker, stranger)
        assert "the worker was given another client" in caplog.text


async def test_a_client_that_encrypts_does() -> None:
    kms = FakeKms()
    with EnvelopePlugin(kms) as plugin, EnvelopePlugin(kms) as other:
        worker = await looked_at(plugin)
        for known in (await client(plugin), await client(other), await client(converter=envelope_data_converter(kms))):
            await in_activity(worker, known)


async def test_a_client_is_looked_at_once() -> None:
    seen: list[Client] = []
    worker, given = WorkerClient(seen.append), await client()
    await in_activity(worker, given)
    await in_activity(worker, given)
    assert seen == [given]


async def test_activities_that_get_no_client_need_none() -> None:
    def activity() -> None:
        WorkerClient(lambda _: pytest.fail("there is none")).check_in_activity()

    ActivityEnvironment().run(activity)
