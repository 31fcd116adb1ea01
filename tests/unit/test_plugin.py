"""What the plugin makes of a client's, a worker's and a replayer's configuration. No server is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client, ClientConfig, OutboundInterceptor
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.common import HeaderCodecBehavior
from temporalio.contrib.pydantic import PydanticPayloadConverter, pydantic_data_converter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    ExternalStorage,
    FailureConverter,
    PayloadCodec,
    StorageDriver,
    WorkflowSerializationContext,
)
from temporalio.plugin import SimplePlugin
from temporalio.worker import Interceptor, Replayer, UnsandboxedWorkflowRunner, Worker, WorkerConfig
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from envelope_codec import ConfigurationError, EnvelopeConfig, EnvelopePlugin, KmsUnavailable, envelope_data_converter
from envelope_codec.envelope import parse
from envelope_codec.storage.external import without_our_storage
from envelope_codec.temporal.client_check import Guard
from envelope_codec.temporal.client_memos import NullMemos
from envelope_codec.temporal.client_payloads import ClientPayloads
from envelope_codec.temporal.codec import EnvelopeCodec, is_envelope
from envelope_codec.temporal.failure_converter import EnvelopeFailureConverter
from envelope_codec.temporal.prewarm import Prewarm
from envelope_codec.temporal.workflow_instance import is_guarded_runner
from envelope_codec.testing import FakeKms

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"text"')


@workflow.defn
class Nothing:
    @workflow.run
    async def run(self) -> None:
        pass


class Reverse(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(metadata={"encoding": b"reversed"}, data=p.SerializeToString()[::-1]) for p in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload.FromString(p.data[::-1]) for p in payloads]


async def client(*plugins: Any, **settings: Any) -> Client:
    """A client that has not connected."""
    return await Client.connect("127.0.0.1:1", lazy=True, plugins=plugins, **settings)


def codec_of(converter: DataConverter) -> EnvelopeCodec:
    assert isinstance(converter.payload_codec, EnvelopeCodec)
    return converter.payload_codec


async def seal(converter: DataConverter) -> Payload:
    assert converter.payload_codec is not None
    (sealed,) = await converter.payload_codec.encode([PLAIN])
    return sealed


async def open_(converter: DataConverter, payload: Payload) -> Payload:
    assert converter.payload_codec is not None
    (opened,) = await converter.payload_codec.decode([payload])
    return opened


async def namespace_of(converter: DataConverter) -> str:
    sealed = await seal(converter)
    envelope = parse(sealed.metadata, sealed.data)
    assert envelope is not None
    return envelope.record.namespace


# --- construction -----------------------------------------------------------------------------------------------------


def test_settings_are_those_of_the_configuration() -> None:
    with EnvelopePlugin(FakeKms(), lease="1m", headers=False) as plugin:
        assert plugin.config.lease == 60
        assert plugin.keyring.limits.lease == 60
    with pytest.raises(ConfigurationError, match="did you mean lease"):
        EnvelopePlugin(FakeKms(), leese=1)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="give lease in the configuration, or a key instead of it"):
        EnvelopePlugin(EnvelopeConfig(key=FakeKms()), lease=1)
    with pytest.raises(ConfigurationError, match="'nonsense' is not a key URI"):
        EnvelopePlugin("nonsense")


async def test_nothing_seals_after_close() -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        converter = (await client(plugin)).data_converter
        sealed = await seal(converter)
    with pytest.raises(KmsUnavailable, match="has been closed"):
        await seal(converter)
    with pytest.raises(KmsUnavailable, match="has been closed"):
        await open_(converter, sealed)


# --- the client -------------------------------------------------------------------------------------------------------


async def test_client_seals_payloads_failures_and_headers() -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        encrypting = await client(plugin)
        assert is_envelope(await seal(encrypting.data_converter))
        assert await open_(encrypting.data_converter, await seal(encrypting.data_converter)) == PLAIN
        assert encrypting.data_converter.failure_converter_class is EnvelopeFailureConverter
        assert encrypting.config(active_config=True)["header_codec_behavior"] is HeaderCodecBehavior.CODEC
        plugin.verify(encrypting)


async def test_headers_can_be_left_as_they_are() -> None:
    with EnvelopePlugin(FakeKms(), headers=False) as plugin:
        config = (await client(plugin)).config(active_config=True)
        assert config["header_codec_behavior"] is HeaderCodecBehavior.NO_CODEC


async def test_without_sealing_it_reads_envelopes_and_writes_as_before() -> None:
    kms = FakeKms()
    with EnvelopePlugin(kms) as writing, EnvelopePlugin(kms, sealing=False) as reading:
        reader = (await client(reading)).data_converter
        assert await seal(reader) == PLAIN
        assert await open_(reader, await seal((await client(writing)).data_converter)) == PLAIN
        assert reader.failure_converter_class is DefaultFailureConverter
        assert kms.wraps == 1


async def test_without_sealing_a_users_codec_is_not_given_headers_that_it_was_not_given_before() -> None:
    mine = dataclasses.replace(DataConverter.default, payload_codec=Reverse())
    with EnvelopePlugin(FakeKms(), sealing=False) as plugin:
        with pytest.raises(ConfigurationError, match="set headers=False, or header_codec_behavior=CODEC"):
            await client(plugin, data_converter=mine)
        await client(plugin, data_converter=mine, header_codec_behavior=HeaderCodecBehavior.CODEC)
        again = await client(plugin)
        await client(plugin, data_converter=again.data_converter)
    with EnvelopePlugin(FakeKms(), sealing=False, headers=False) as plugin:
        reading = await client(plugin, data_converter=mine)
        assert reading.config(active_config=True)["header_codec_behavior"] is HeaderCodecBehavior.NO_CODEC


class Driver(StorageDriver):
    """Stores nothing; it is only carried along."""

    def name(self) -> str:
        return "driver"

    async def store(self, context: Any, payloads: Any) -> Any:
        raise NotImplementedError

    async def retrieve(self, context: Any, claims: Any) -> Any:
        raise NotImplementedError


async def test_users_converter_is_merged_with_and_not_replaced() -> None:
    storage = ExternalStorage(drivers=[Driver()])
    mine = dataclasses.replace(pydantic_data_converter, payload_codec=Reverse(), external_storage=storage)
    with EnvelopePlugin(FakeKms()) as plugin:
        converter = (await client(plugin, data_converter=mine)).data_converter
        assert converter.payload_converter_class is PydanticPayloadConverter
        assert without_our_storage(converter.external_storage) is storage
        (inner,) = await Reverse().encode([PLAIN])
        sealed = await seal(converter)
        assert await open_((await client(plugin)).data_converter, sealed) == inner, "the user's codec encodes first"
        assert await open_(converter, sealed) == PLAIN


async def test_users_failure_converter_is_wrapped() -> None:
    class Mine(DefaultFailureConverter):
        pass

    class Leaking(FailureConverter):
        def to_failure(self, exception: Any, payload_converter: Any, failure: Any) -> None:
            failure.message = str(exception)

        def from_failure(self, failure: Any, payload_converter: Any) -> BaseException:
            raise NotImplementedError

    class NeedsContext(DefaultFailureConverter):
        def to_failure(self, exception: Any, payload_converter: Any, failure: Any) -> None:
            raise AssertionError

    def with_failures(converter: type[FailureConverter]) -> DataConverter:
        return dataclasses.replace(DataConverter.default, failure_converter_class=converter)

    with EnvelopePlugin(FakeKms()) as plugin:
        extended = (await client(plugin, data_converter=with_failures(Mine))).data_converter.failure_converter_class
        assert issubclass(extended, Mine)
        assert extended is not Mine
        kept = (await client(plugin, data_converter=with_failures(extended))).data_converter.failure_converter_class
        assert kept is extended
        factories: list[Any] = [Leaking, NeedsContext, partial(Mine), lambda: Mine()]
        for factory in factories:
            made = await client(plugin, data_converter=with_failures(factory))
            failure = Failure()
            await made.data_converter.encode_failure(ValueError("a marigold"), failure)
            assert failure.message == "Encoded failure"
            assert is_envelope(failure.encoded_attributes)
            assert Client(**made.config(active_config=True)).data_converter is made.data_converter


async def test_applied_twice_is_the_same_as_once() -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        once = await client(plugin)
        again = Client(**once.config(active_config=True))
        assert again.data_converter is once.data_converter
        twice = await client(plugin, plugin)
        assert isinstance(twice.data_converter.payload_codec, EnvelopeCodec)
        mine = dataclasses.replace(DataConverter.default, payload_codec=Reverse())
        chained = await client(plugin, data_converter=mine)
        assert Client(**chained.config(active_config=True)).data_converter is chained.data_converter


@pytest.mark.parametrize(
    "base", [DataConverter.default, dataclasses.replace(DataConverter.default, payload_codec=Reverse())]
)
async def test_converter_of_one_namespace_is_rebound_in_another(base: DataConverter) -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        one = await client(plugin, namespace="one", data_converter=base)
        two = await client(plugin, namespace="two", data_converter=one.data_converter)
        assert await namespace_of(one.data_converter) == "one"
        assert await namespace_of(two.data_converter) == "two"
        assert await open_(two.data_converter, await seal(two.data_converter)) == PLAIN
        opened = await open_(
            DataConverter(payload_codec=EnvelopeCodec(plugin.config, keyring=plugin.keyring)),
            await seal(two.data_converter),
        )
        assert not is_envelope(opened), "sealed once"


async def test_converter_of_another_plugin_is_refused() -> None:
    with EnvelopePlugin(FakeKms()) as one, EnvelopePlugin(FakeKms()) as other:
        converter = (await client(one)).data_converter
        with pytest.raises(ConfigurationError, match="encrypts already, by another EnvelopePlugin"):
            await client(other, data_converter=converter)


async def test_plugin_that_replaces_the_converter_after_us_is_detected() -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        replacing = SimplePlugin("replacing", data_converter=DataConverter.default)
        with pytest.raises(ConfigurationError, match="the client does not encrypt"):
            await client(plugin, replacing)
        plugin.verify(await client(replacing, plugin))


async def test_a_clients_interceptors_do_not_hide_that_it_does_not_encrypt() -> None:
    class Outbound(OutboundInterceptor):
        pass

    class Mine(ClientInterceptor):
        def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
            return Outbound(next)

    with EnvelopePlugin(FakeKms()) as plugin:
        replacing = SimplePlugin("replacing", data_converter=DataConverter.default)
        with pytest.raises(ConfigurationError, match="the client does not encrypt"):
            await client(plugin, replacing, interceptors=[Mine(), Mine()])
        encrypting = await client(plugin, interceptors=[Mine()])
        config: Any = encrypting.config(active_config=True)
        with pytest.raises(ConfigurationError, match="the client does not encrypt"):
            Client(**{**config, "plugins": [], "data_converter": DataConverter.default})
        again = Client(**config).config(active_config=True)
        assert sum(isinstance(one, Guard) for one in again["interceptors"]) == 1


async def test_verify_wants_this_plugins_own_keys() -> None:
    kms = FakeKms()
    with EnvelopePlugin(kms) as plugin, EnvelopePlugin(kms) as other:
        for stranger in (
            await client(),
            await client(other),
            await client(data_converter=envelope_data_converter(kms)),
        ):
            with pytest.raises(ConfigurationError, match="the client does not encrypt"):
                plugin.verify(stranger)


# --- the worker -------------------------------------------------------------------------------------------------------


async def worker_config(plugin: EnvelopePlugin, **config: Any) -> dict[str, Any]:
    return dict(plugin.configure_worker({"client": await client(plugin), **config}))  # type: ignore[typeddict-item]


def prewarms(config: dict[str, Any]) -> list[Prewarm]:
    return [interceptor for interceptor in config.get("interceptors", ()) if isinstance(interceptor, Prewarm)]


async def test_worker_gets_its_sealing_key_before_any_users_interceptor_runs() -> None:
    class Mine(Interceptor):
        pass

    mine = Mine()
    with EnvelopePlugin(FakeKms()) as plugin:
        config = await worker_config(plugin, interceptors=[mine])
        assert isinstance(config["interceptors"][0], Prewarm)
        assert config["interceptors"][1:] == [mine]
        assert len(prewarms(dict(plugin.configure_worker(config)))) == 1  # type: ignore[arg-type]


async def test_worker_that_does_not_seal_needs_no_key() -> None:
    with EnvelopePlugin(FakeKms(), sealing=False) as plugin:
        assert prewarms(await worker_config(plugin)) == []


class MyRunner(UnsandboxedWorkflowRunner):
    """A user's own."""


@pytest.mark.parametrize("make", [SandboxedWorkflowRunner, UnsandboxedWorkflowRunner, MyRunner])
async def test_what_workflows_hand_over_is_settled_by_any_runner(make: Any) -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        config = await worker_config(plugin, workflow_runner=make(), unsandboxed_workflow_runner=make())
        again = plugin.configure_worker(config)  # type: ignore[arg-type]
        for name in ("workflow_runner", "unsandboxed_workflow_runner"):
            assert is_guarded_runner(config[name])
            assert isinstance(config[name], make)
            assert isinstance(again[name], make)
            assert type(again[name]) is type(config[name])


async def test_runner_stays_as_it_is_without_sealing_and_in_a_replayer() -> None:
    runner = UnsandboxedWorkflowRunner()
    with EnvelopePlugin(FakeKms(), sealing=False) as plugin:
        config = await worker_config(plugin, workflow_runner=runner, unsandboxed_workflow_runner=runner)
        assert config["workflow_runner"] is config["unsandboxed_workflow_runner"] is runner
    with EnvelopePlugin(FakeKms()) as plugin:
        replaying: Any = {"workflow_runner": runner, "unsandboxed_workflow_runner": runner}
        assert plugin.configure_replayer(replaying)["workflow_runner"] is runner


async def test_worker_whose_runner_was_replaced_by_a_later_plugin_does_not_start() -> None:
    class LaterRunner(SimplePlugin):
        def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
            config["workflow_runner"] = self.replaced(config["workflow_runner"])
            return config

        def replaced(self, runner: Any) -> Any:
            raise NotImplementedError

    class Copying(LaterRunner):
        def replaced(self, runner: Any) -> Any:
            return dataclasses.replace(runner, restrictions=runner.restrictions.with_passthrough_modules("this"))

    class Forgetting(LaterRunner):
        def replaced(self, runner: Any) -> Any:
            return SandboxedWorkflowRunner()

    async def run(worker: Any) -> None:
        started.append(worker)

    started: list[Any] = []
    with EnvelopePlugin(FakeKms(), startup_jitter=0) as plugin:
        for later in (Copying("later"), Forgetting("later")):
            config = await worker_config(plugin, workflow_runner=SandboxedWorkflowRunner())
            worker = NotConnected(later.configure_worker(config))  # type: ignore[arg-type]
            if isinstance(later, Copying):
                await plugin.run_worker(worker, run)  # type: ignore[arg-type]
            else:
                with pytest.raises(ConfigurationError, match="workflow_runner may leave failures in clear"):
                    await plugin.run_worker(worker, run)  # type: ignore[arg-type]
    assert len(started) == 1


async def test_worker_whose_interceptors_were_replaced_by_a_later_plugin_does_not_start() -> None:
    async def run(worker: Any) -> None:
        raise AssertionError("it runs")

    with EnvelopePlugin(FakeKms(), startup_jitter=0) as plugin:
        config = await worker_config(plugin, interceptors=[])
        config["interceptors"] = []
        with pytest.raises(ConfigurationError, match="another plugin removed interceptors"):
            await plugin.run_worker(NotConnected(config), run)  # type: ignore[arg-type]


class NotConnected:
    """Stands for a worker: the SDK makes none without a server."""

    is_running = is_shutdown = False

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self.client = config["client"]

    def config(self, *, active_config: bool = False) -> WorkerConfig:
        return self._config


async def test_worker_of_a_plain_client_is_refused() -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        plain = await client()
        with pytest.raises(ConfigurationError, match=r"give EnvelopePlugin to Client.connect\(…, plugins=\[…\]\)"):
            Worker(plain, task_queue="q", workflows=[Nothing], plugins=[plugin])


# --- the replayer -----------------------------------------------------------------------------------------------------


async def test_replayer_opens_and_never_seals() -> None:
    kms = FakeKms()
    with EnvelopePlugin(kms) as plugin:
        sealed = await seal((await client(plugin)).data_converter)
        config = Replayer(workflows=[Nothing], plugins=[plugin]).config(active_config=True)
        converter = config["data_converter"]
        assert await open_(converter, sealed) == PLAIN
        assert await seal(converter) == PLAIN
        context = WorkflowSerializationContext(namespace="ReplayNamespace", workflow_id="w")
        assert await open_(converter.with_context(context), sealed) == PLAIN
        assert config["header_codec_behavior"] is HeaderCodecBehavior.CODEC
        runner = config["workflow_runner"]
        assert isinstance(runner, SandboxedWorkflowRunner)
        assert "envelope_codec" in runner.restrictions.passthrough_modules


async def test_replayer_takes_a_clients_converter_as_well() -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        converter = (await client(plugin)).data_converter
        replayer = Replayer(workflows=[Nothing], plugins=[plugin], data_converter=converter)
        opening = replayer.config(active_config=True)["data_converter"]
        assert await open_(opening, await seal(converter)) == PLAIN
        assert await seal(opening) == PLAIN


# --- the converter ----------------------------------------------------------------------------------------------------


async def test_converter_without_plugin() -> None:
    base = dataclasses.replace(pydantic_data_converter, payload_codec=Reverse())
    converter = envelope_data_converter(FakeKms(), base=base, namespace="mine", max_payloads=7)
    assert converter.payload_converter_class is PydanticPayloadConverter
    assert converter.failure_converter_class is EnvelopeFailureConverter
    assert await namespace_of(converter) == "mine"
    assert await open_(converter, await seal(converter)) == PLAIN
    plain = envelope_data_converter(FakeKms(), max_payloads=7)
    assert codec_of(plain).config.max_payloads == 7
    codec_of(plain).close()
    with pytest.raises(KmsUnavailable, match="has been closed"):
        await seal(plain)


async def test_one_plugin_serves_clients_of_several_namespaces() -> None:
    kms = FakeKms()
    with EnvelopePlugin(kms) as plugin:
        clients = [await client(plugin, namespace=namespace) for namespace in ("one", "two", "one")]
        assert [await namespace_of(each.data_converter) for each in clients] == ["one", "two", "one"]
        assert kms.wraps == 2


def test_configuration_of_a_client_keeps_what_is_not_ours() -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        given: Any = {"data_converter": DataConverter.default, "namespace": "n", "interceptors": ["theirs"]}
        config: ClientConfig = plugin.configure_client(given)
        guard, theirs, nulls, payloads = config["interceptors"]
        assert isinstance(guard, Guard)
        assert theirs == "theirs"  # type: ignore[comparison-overlap]
        assert isinstance(nulls, NullMemos)
        assert isinstance(payloads, ClientPayloads)
        assert config["namespace"] == "n"


# --- plugins that come later ------------------------------------------------------------------------------------------


class Later(SimplePlugin):
    """Changes what the plugin before it has set."""

    def __init__(self, **changes: Any) -> None:
        super().__init__("later")
        self._changes = changes

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        failures = self._changes.get("failure_converter_class")
        if failures is not None:
            config["data_converter"] = dataclasses.replace(config["data_converter"], failure_converter_class=failures)
        if "headers" in self._changes:
            config["header_codec_behavior"] = self._changes["headers"]
        return config


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"failure_converter_class": DefaultFailureConverter}, "leaves messages and stack traces in clear"),
        ({"headers": HeaderCodecBehavior.NO_CODEC}, "leaves headers in clear"),
        ({"headers": HeaderCodecBehavior.WORKFLOW_ONLY_CODEC}, "leaves headers in clear"),
    ],
)
async def test_a_later_plugin_that_lets_something_out_in_clear_is_detected(changes: Any, said: str) -> None:
    with EnvelopePlugin(FakeKms()) as plugin, pytest.raises(ConfigurationError, match=said):
        await client(plugin, Later(**changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data_converter": DataConverter.default}, "the client does not encrypt"),
        ({"header_codec_behavior": HeaderCodecBehavior.NO_CODEC}, "leaves headers in clear"),
        ({}, "leaves payloads that it is handed ready-made in clear"),
    ],
)
async def test_a_client_that_lets_something_out_in_clear_gets_no_worker(changes: Any, said: str) -> None:
    """Also where nothing has checked the client when it was made."""
    with EnvelopePlugin(FakeKms()) as plugin:
        config: Any = (await client(plugin)).config(active_config=True)
        changed = Client(**{**config, "plugins": [], "interceptors": [], **changes})
        with pytest.raises(ConfigurationError, match=said):
            plugin.verify(changed)
        with pytest.raises(ConfigurationError, match=said):
            Worker(changed, task_queue="q", workflows=[Nothing], plugins=[plugin])


async def test_a_failure_converter_that_was_replaced_is_put_back_when_the_plugin_is_applied_again() -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        again = await client(plugin, Later(failure_converter_class=DefaultFailureConverter), plugin)
        plugin.verify(again)


async def test_a_converter_of_ones_own_is_closed_through_its_codec() -> None:
    converter = envelope_data_converter(FakeKms(), base=DataConverter(payload_codec=Reverse()))
    await seal(converter)
    converter.payload_codec.close()  # type: ignore[union-attr]
    with pytest.raises(KmsUnavailable, match="has been closed"):
        await seal(converter)


def test_the_name_is_the_librarys_and_the_plugins() -> None:
    """The form ``organization.PluginName``, which Temporal's guide for plugins asks for."""
    with EnvelopePlugin(FakeKms()) as plugin:
        assert plugin.name() == "envelope_codec.EnvelopePlugin"
