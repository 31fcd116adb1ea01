"""The plugin for Temporal clients and workers, and the data converter for those who build their own."""

from __future__ import annotations

import dataclasses
import inspect
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from importlib import metadata
from typing import Any, cast

import temporalio.client
import temporalio.converter
import temporalio.worker
from temporalio.client import Client, ClientConfig, WorkflowHistory
from temporalio.common import HeaderCodecBehavior
from temporalio.converter import DataConverter, ExternalStorage, FailureConverter, PayloadCodec
from temporalio.service import ConnectConfig, ServiceClient
from temporalio.worker import (
    Replayer,
    ReplayerConfig,
    Worker,
    WorkerConfig,
    WorkflowReplayResult,
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from typing_extensions import Self

from envelope_codec._frames import frameless
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError, EnvelopeError
from envelope_codec.keys.keyring import Keyring
from envelope_codec.kms import ENTRY_POINT_GROUP, MasterKey
from envelope_codec.observe import Observer, fix, logger
from envelope_codec.storage.driver import EnvelopeDriver, Pool
from envelope_codec.storage.external import (
    ScheduleMemos,
    configured_pools,
    with_our_storage,
    without_our_storage,
)
from envelope_codec.temporal.chain import CodecChain
from envelope_codec.temporal.client_check import Guard
from envelope_codec.temporal.client_payloads import ClientPayloads
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.failure_converter import encoding_failures, hides, reading_failures
from envelope_codec.temporal.failure_encoding import sealing_failures, seals_failures
from envelope_codec.temporal.legacy import with_legacy_codecs
from envelope_codec.temporal.client_memos import NullMemos
from envelope_codec.temporal.replay import explained
from envelope_codec.temporal.worker_client import WorkerClient
from envelope_codec.temporal.worker_start import Prewarm, ready_or_ended, run_until_stopped
from envelope_codec.temporal.workflow_instance import settles, settling

_SDK_CONCURRENCY = inspect.signature(Worker).parameters["max_workflow_task_external_storage_concurrency"].default
_STORAGE_CONCURRENCY = 32


@frameless
def envelope_data_converter(
    config: EnvelopeConfig | MasterKey | str,
    *,
    base: DataConverter = DataConverter.default,
    namespace: str = "default",
    observer: Observer | None = None,
    **settings: Any,
) -> DataConverter:
    """``base`` with payloads and failure attributes sealed; for those who build their own converter.

    Set ``header_codec_behavior=HeaderCodecBehavior.CODEC`` on the client as well, to seal headers. The codec's
    ``close()`` ends what it opened.

    Args:
        config: a key (AWS KMS ARN, GCP CryptoKey name, key URI, `MasterKey`), or a whole configuration.
        base: what to merge with: its codec, if it has one, encodes first.
        namespace: the namespace of the client that will use it.
        observer: receives events; what happens is logged if None.
        settings: fields of `EnvelopeConfig`, where ``config`` is a key.
    """
    codec = EnvelopeCodec(_configuration(config, settings), namespace=namespace, observer=observer)
    return _merge(base, codec, configured_pools(codec.config))


class EnvelopePlugin(temporalio.client.Plugin, temporalio.worker.Plugin):
    """Seals everything that a client and its workers send to Temporal. Give it to the client, last among plugins.

    One plugin may serve any number of clients and workers. `close` it, or use it in a ``with`` statement, when all of
    them are done.

    Args:
        config: a key (AWS KMS ARN, GCP CryptoKey name, key URI, `MasterKey`), or a whole configuration.
        observer: receives events; what happens is logged if None.
        settings: fields of `EnvelopeConfig`, where ``config`` is a key: ``EnvelopePlugin(arn, lease="1m")``.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    @frameless
    def __init__(
        self, config: EnvelopeConfig | MasterKey | str, *, observer: Observer | None = None, **settings: Any
    ) -> None:
        self._config = with_legacy_codecs(_configuration(config, settings))
        self._pools = configured_pools(self._config)
        self._keyring = self._config.keyring(observer=observer)

    @property
    def config(self) -> EnvelopeConfig:
        """The configuration in force."""
        return self._config

    @property
    def keyring(self) -> Keyring:
        """Where the keys come from."""
        return self._keyring

    def name(self) -> str:
        """See `temporalio.client.Plugin.name`."""
        return "envelope_codec.EnvelopePlugin"

    def close(self) -> None:
        """Forget the keys and end connections to the KMS and to datastores. Whatever encodes or decodes later raises
        `KmsUnavailable`.
        """
        self._keyring.close()
        for pool in self._pools:
            pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def verify(self, client: Client) -> None:
        """Check that what ``client`` sends is sealed by this plugin.

        Raises:
            ConfigurationError: it isn't, since the client was made without it or another plugin replaced the converter.
        """
        codec = _find(client.data_converter.payload_codec)
        if codec is None or codec.keyring is not self._keyring:
            raise ConfigurationError(
                "the client does not encrypt: give EnvelopePlugin to Client.connect(…, plugins=[…]), last in the list, "
                "not to the worker"
            )
        if not self._config.sealing:
            return
        failures = client.data_converter.failure_converter_class
        if not hides(failures) or not seals_failures(client.data_converter):
            told = getattr(failures, "__qualname__", type(failures).__qualname__)
            raise ConfigurationError(
                f"the client's failure converter {told} leaves messages and stack traces in clear: "
                "another plugin set it after EnvelopePlugin, which must be the last in the list"
            )
        storage = client.data_converter.external_storage
        ours = [driver for driver in storage.drivers if isinstance(driver, EnvelopeDriver)] if storage else []
        if [driver.pool for driver in ours] != self._pools:
            raise ConfigurationError(
                "the client does not use the datastore: another plugin set external_storage after EnvelopePlugin, "
                "which must be the last in the list"
            )
        config = client.config(active_config=True)
        headers = config.get("header_codec_behavior")
        if self._config.headers and headers != HeaderCodecBehavior.CODEC:
            raise ConfigurationError(
                "the client leaves headers in clear: another plugin set header_codec_behavior after EnvelopePlugin, "
                "which must be the last in the list; or set headers=False"
            )
        if not any(isinstance(one, ClientPayloads) and one.keyring is self._keyring for one in config["interceptors"]):
            raise ConfigurationError(
                "the client leaves payloads that it is handed ready-made in clear: another plugin removed interceptors "
                "that EnvelopePlugin has set, which must be the last in the list"
            )

    # --- client ---------------------------------------------------------------------------------------------------

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """See `temporalio.client.Plugin.configure_client`. Making the client raises if a later plugin undoes this."""
        namespace = config["namespace"]
        if self._config.sealing and not self._keyring.seals(namespace):
            raise ConfigurationError(
                f"namespace {namespace!r} has no master key: list it under namespaces, by name or by a pattern"
            )
        self._check_headers(config)
        config["data_converter"] = self._applied(config["data_converter"], namespace, self._config)
        interceptors = list(config["interceptors"])
        if not any(isinstance(other, Guard) and other.keyring is self._keyring for other in interceptors):
            memos = [ScheduleMemos()] if self._config.storage is not None and self._config.sealing else []
            nulls = [NullMemos()] if self._config.sealing else []  # behind others, to see what they add
            interceptors = [Guard(self._keyring, self.verify), *memos, *interceptors, *nulls]
        config["interceptors"] = [*_without_payloads(interceptors, self._keyring), *self._client_payloads(config)]
        if self._config.headers:
            config["header_codec_behavior"] = HeaderCodecBehavior.CODEC
        return config

    def _client_payloads(self, config: ClientConfig) -> list[ClientPayloads]:
        if not self._config.sealing:
            return []
        converter, namespace = config["data_converter"], config["namespace"]
        return [ClientPayloads(self._keyring, converter, namespace, headers=self._config.headers)]

    def _check_headers(self, config: ClientConfig) -> None:
        """The SDK has one setting for reading and writing headers: without sealing, the user's codec would get them."""
        codec = config["data_converter"].payload_codec
        if self._config.sealing or not self._config.headers or codec is None or _find(codec) is not None:
            return
        if config["header_codec_behavior"] != HeaderCodecBehavior.CODEC:
            raise ConfigurationError(
                "sealing=False would put headers through the data converter's own codec, where clients without the "
                "plugin can't read them: set headers=False, or header_codec_behavior=CODEC if those clients have it too"
            )

    async def connect_service_client(
        self, config: ConnectConfig, next: Callable[[ConnectConfig], Awaitable[ServiceClient]]
    ) -> ServiceClient:
        """See `temporalio.client.Plugin.connect_service_client`."""
        return await next(config)

    # --- worker ---------------------------------------------------------------------------------------------------

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """See `temporalio.worker.Plugin.configure_worker`. Raises if the worker's client does not encrypt."""
        client = config["client"]  # pyright: ignore[reportTypedDictNotRequiredAccess] - the SDK always gives it
        self.verify(client)
        runner = config.get("workflow_runner")
        if runner is not None:
            config["workflow_runner"] = self._runner(_passed_through(runner))
        unsandboxed = config.get("unsandboxed_workflow_runner")
        if unsandboxed is not None:
            config["unsandboxed_workflow_runner"] = self._runner(unsandboxed)
        interceptors = list(config.get("interceptors") or ())
        known = any(isinstance(other, Prewarm) and other.keyring is self._keyring for other in interceptors)
        if self._config.sealing and not known:
            check = WorkerClient(self._verify_worker_client)
            config["interceptors"] = [Prewarm(self._keyring, client.namespace, check), *interceptors]
        if self._pools and config.get("max_workflow_task_external_storage_concurrency") == _SDK_CONCURRENCY:
            config["max_workflow_task_external_storage_concurrency"] = _STORAGE_CONCURRENCY
        return config

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        """See `temporalio.worker.Plugin.run_worker`. The worker polls nothing before there is a key to seal with."""
        if worker.is_shutdown:
            raise RuntimeError("this worker has ended: make another")
        if not self._config.sealing or await ready_or_ended(worker, self._ready(worker)):
            await run_until_stopped(worker, next(worker))

    def _runner(self, runner: WorkflowRunner) -> WorkflowRunner:
        return settling(runner, screens=self._config.require_encryption) if self._config.sealing else runner

    async def _ready(self, worker: Worker) -> None:
        WorkerClient(self._verify_worker_client).check(worker.client)  # it may have been exchanged since it was made
        config = worker.config(active_config=True)
        for name in ("workflow_runner", "unsandboxed_workflow_runner"):
            runner = config.get(name)
            if runner is not None and not settles(runner):
                raise ConfigurationError(
                    f"the worker's {name} may leave failures in clear: another plugin set it after EnvelopePlugin, "
                    "which must be the last in the list"
                )
        if not any(
            isinstance(one, Prewarm) and one.keyring is self._keyring for one in config.get("interceptors") or ()
        ):
            raise ConfigurationError(
                "the worker does not wait for a key before it runs an activity, and may tell an error of one in clear: "
                "another plugin removed interceptors that EnvelopePlugin has set, which must be the last in the list"
            )
        await self._prewarm(worker.client.namespace)

    def _verify_worker_client(self, client: Client) -> None:
        """As `verify`. A client that another plugin encrypts for will do, which that plugin has checked."""
        codec = _find(client.data_converter.payload_codec)
        if codec is None or codec.keyring is self._keyring or not codec.config.sealing:
            self.verify(client)

    async def _prewarm(self, namespace: str) -> None:
        jitter = random.uniform(0, self._config.startup_jitter)  # noqa: S311 - spreads load, hides nothing
        try:
            await self._keyring.pause_at_start(namespace, jitter)
            await self._keyring.prewarm(namespace)
        except EnvelopeError as error:
            # This ends the worker, so it does not get into a history, and may name the setting and the key.
            advice = fix(type(error).__name__)
            text = f"{error.setting or 'key'}: {error} (key {error.key_id or '-'}){f'; {advice}' if advice else ''}"
            told = type(error)(text, operation=error.operation, key_id=error.key_id)
            told.setting = error.setting
            logger.error("the worker can't start: %s", told)
            raise told from None

    # --- replayer -------------------------------------------------------------------------------------------------

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """See `temporalio.worker.Plugin.configure_replayer`. A replayer sends nothing, so it only opens."""
        # Nothing is lost where it can't: it waits no longer for the result of an activity than for anything else.
        opening = self._config.model_copy(update={"sealing": False, "activity_timeout": self._config.timeout})
        converter = config.get("data_converter") or DataConverter.default
        config["data_converter"] = self._applied(converter, config.get("namespace") or "default", opening)
        if self._config.headers:
            config["header_codec_behavior"] = HeaderCodecBehavior.CODEC
        runner = config.get("workflow_runner")
        if runner is not None:
            runner = _passed_through(runner)
            config["workflow_runner"] = self._runner(runner) if self._config.require_encryption else runner
        return config

    def run_replayer(
        self,
        replayer: Replayer,
        histories: AsyncIterator[WorkflowHistory],
        next: Callable[
            [Replayer, AsyncIterator[WorkflowHistory]],
            AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]],
        ],
    ) -> AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]]:
        """See `temporalio.worker.Plugin.run_replayer`. Of a history that can't be opened, the error is told."""
        return explained(next(replayer, histories))

    def _applied(self, converter: DataConverter, namespace: str, config: EnvelopeConfig) -> DataConverter:
        codec = _find(converter.payload_codec)
        if codec is not None:
            if codec.keyring is not self._keyring:
                raise ConfigurationError(
                    "the data converter encrypts already, by another EnvelopePlugin: start from one that does not"
                )
            if codec.namespace == namespace and codec.config == config:
                failures = _failures(converter, config)
                storage = converter.external_storage
                if without_our_storage(storage) is storage:  # ours was taken out, or there was none
                    storage = _storage(storage, self._pools, codec)
                if failures is not converter.failure_converter_class or storage is not converter.external_storage:
                    converter = dataclasses.replace(
                        converter, failure_converter_class=failures, external_storage=storage
                    )
                return sealing_failures(converter) if config.sealing else converter
            converter = dataclasses.replace(
                converter,
                payload_codec=_without(converter.payload_codec, codec),
                external_storage=without_our_storage(converter.external_storage),
            )
        codec = EnvelopeCodec(config, namespace=namespace, keyring=self._keyring)
        return _merge(converter, codec, self._pools)


def _configuration(config: EnvelopeConfig | MasterKey | str, settings: dict[str, Any]) -> EnvelopeConfig:
    if not isinstance(config, EnvelopeConfig):
        return EnvelopeConfig(key=config, **settings)
    if settings:
        raise ConfigurationError(f"give {', '.join(settings)} in the configuration, or a key instead of it")
    return config


def _merge(base: DataConverter, codec: EnvelopeCodec, pools: list[Pool]) -> DataConverter:
    """``base`` with ``codec`` after its own codec, a failure converter that encodes attributes, and datastores."""
    merged = dataclasses.replace(
        base,
        payload_codec=codec if base.payload_codec is None else CodecChain([base.payload_codec, codec]),
        failure_converter_class=_failures(base, codec.config),
        external_storage=_storage(base.external_storage, pools, codec),
    )
    return sealing_failures(merged) if codec.config.sealing else merged


def _storage(base: ExternalStorage | None, pools: list[Pool], codec: EnvelopeCodec) -> ExternalStorage | None:
    writing = codec.config.storage is not None and codec.config.sealing
    return with_our_storage(base, pools, codec, threshold=codec.config.storage_threshold if writing else None)


def _failures(base: DataConverter, config: EnvelopeConfig) -> type[FailureConverter]:
    failures = base.failure_converter_class
    # Without sealing it writes as before, and reads what others have encoded.
    return encoding_failures(failures) if config.sealing else cast("type[FailureConverter]", reading_failures(failures))


def _without_payloads(
    interceptors: list[temporalio.client.Interceptor], keyring: Keyring
) -> list[temporalio.client.Interceptor]:
    """``interceptors`` without those that seal with another client's converter."""
    return [one for one in interceptors if not (isinstance(one, ClientPayloads) and one.keyring is keyring)]


def _find(codec: PayloadCodec | None) -> EnvelopeCodec | None:
    if isinstance(codec, EnvelopeCodec):
        return codec
    if isinstance(codec, CodecChain):
        return next((found for found in map(_find, codec.codecs) if found is not None), None)
    return None


def _without(codec: PayloadCodec | None, ours: EnvelopeCodec) -> PayloadCodec | None:
    others = [other for other in codec.codecs if other is not ours] if isinstance(codec, CodecChain) else []
    return None if not others else others[0] if len(others) == 1 else CodecChain(others)


def _passed_through(runner: WorkflowRunner) -> WorkflowRunner:
    """The sandbox takes our modules and every provider's from outside, so that a workflow's module may import them."""
    if not isinstance(runner, SandboxedWorkflowRunner):
        return runner
    points = metadata.entry_points(group=ENTRY_POINT_GROUP)
    modules = {"envelope_codec", *(point.module.split(".")[0] for point in points)}
    return dataclasses.replace(runner, restrictions=runner.restrictions.with_passthrough_modules(*modules))
