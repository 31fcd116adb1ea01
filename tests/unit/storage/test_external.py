"""The SDK's settings of external storage, with this library's drivers beside the application's."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.client import Client, OutboundInterceptor
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    ExternalStorage,
    StorageDriver,
    WorkflowSerializationContext,
)
from temporalio.exceptions import ApplicationError
from temporalio.plugin import SimplePlugin

from envelope_codec import (
    ConfigurationError,
    EnvelopePlugin,
    StoreRefused,
    StoreUnavailable,
)
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.storage.external import ScheduleMemos
from envelope_codec.storage.foreign import ForeignDriver
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.testing import FakeKms
from tests.support.memory_store import ANYWHERE, PLAIN

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
        ({"storage_query_threshold": 0}, "storage_query_threshold: goes with storage"),
        ({"storage_replay_memory": 0}, "storage_replay_memory: goes with storage"),
        ({"storage": "file:///path", "storage_query_threshold": "many"}, "storage_query_threshold: give a size"),
        ({"storage": "file:///path", "storage_replay_memory": -1}, "storage_replay_memory"),
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
