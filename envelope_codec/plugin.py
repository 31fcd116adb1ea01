"""The plugin for Temporal clients and workers, and the data converter for those who build their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import temporalio.client
import temporalio.worker
from temporalio.client import Client, ClientConfig, WorkflowHistory
from temporalio.common import HeaderCodecBehavior
from temporalio.converter import DataConverter
from temporalio.service import ConnectConfig, ServiceClient
from temporalio.worker import Replayer, ReplayerConfig, Worker, WorkerConfig, WorkflowReplayResult
from typing_extensions import Self, Unpack

from envelope_codec._frames import frameless
from envelope_codec._settings import EnvelopeSettings
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError
from envelope_codec.keys.keyring import Keyring
from envelope_codec.kms import MasterKey
from envelope_codec.observe import Observer
from envelope_codec.storage.datastores import Datastores
from envelope_codec.storage.external import ScheduleMemos
from envelope_codec.temporal import client_check
from envelope_codec.temporal.chain import find_codec
from envelope_codec.temporal.client_memos import NullMemos
from envelope_codec.temporal.client_payloads import ClientPayloads, drop_client_payloads
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.coming_payloads import look_ahead
from envelope_codec.temporal.converter import apply_codec, merge_codec
from envelope_codec.temporal.grpc_compression import ConnectionCompression
from envelope_codec.temporal.legacy import load_legacy_codecs
from envelope_codec.temporal.replay import explain_failures
from envelope_codec.temporal.sandbox import pass_modules_through
from envelope_codec.temporal.sdk_log import keep_heartbeats_out
from envelope_codec.temporal.worker_client import WorkerClient
from envelope_codec.temporal.worker_guard import add_prewarm, check_worker, guard_runners
from envelope_codec.temporal.worker_start import prewarm_or_end, prewarm_worker, run_until_stopped
from envelope_codec.temporal.workflow_instance import guard_runner

if TYPE_CHECKING:
    from temporalio.client import Interceptor as ClientInterceptor


@frameless
def envelope_data_converter(
    config: EnvelopeConfig | MasterKey | str,
    *,
    base: DataConverter = DataConverter.default,
    namespace: str = "default",
    observer: Observer | None = None,
    **settings: Unpack[EnvelopeSettings],
) -> DataConverter:
    """Return ``base`` with payloads and failure attributes sealed. For those who build their own converter.

    Set ``header_codec_behavior=HeaderCodecBehavior.CODEC`` on the client as well, to seal headers. The codec's
    ``close()`` ends what it opened.

    Args:
        config: a key (AWS KMS ARN, GCP CryptoKey name, key URI, `MasterKey`), or a whole configuration.
        base: the converter to merge with. Its codec, if it has one, encodes first.
        namespace: the namespace of the client that will use the converter.
        observer: receives events. Without one, what happens is logged.
        settings: fields of `EnvelopeConfig`, where ``config`` is a key.
    """
    codec = EnvelopeCodec(_make_config(config, settings), namespace=namespace, observer=observer)
    return merge_codec(base, codec, Datastores(codec.config))


class EnvelopePlugin(temporalio.client.Plugin, temporalio.worker.Plugin):
    """Seals everything that a client and its workers send to Temporal. Give it to the client, last among plugins.

    One plugin may serve any number of clients and workers. `close` it, or use it in a ``with`` statement, when all of
    them are done.

    Args:
        config: a key (AWS KMS ARN, GCP CryptoKey name, key URI, `MasterKey`), or a whole configuration.
        observer: receives events. Without one, what happens is logged.
        settings: fields of `EnvelopeConfig`, where ``config`` is a key: ``EnvelopePlugin(arn, lease="1m")``.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    @frameless
    def __init__(
        self,
        config: EnvelopeConfig | MasterKey | str,
        *,
        observer: Observer | None = None,
        **settings: Unpack[EnvelopeSettings],
    ) -> None:
        self._config = load_legacy_codecs(_make_config(config, settings))
        self._datastores = Datastores(self._config)
        self._keyring = self._config.keyring(observer=observer)
        self._compression = ConnectionCompression(self._config)

    @property
    def config(self) -> EnvelopeConfig:
        """The configuration in force."""
        return self._config

    @property
    def keyring(self) -> Keyring:
        """Where the keys come from."""
        return self._keyring

    def name(self) -> str:
        """Return the plugin's name, which Temporal's server shows with a worker."""
        return "envelope_codec.EnvelopePlugin"

    def close(self) -> None:
        """Forget the keys and end connections to the KMS and to datastores.

        Whatever encodes or decodes later raises `KmsUnavailable`.
        """
        self._keyring.close()
        self._datastores.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def verify(self, client: Client) -> None:
        """Check that what ``client`` sends is sealed by this plugin.

        Raises:
            ConfigurationError: the client was made without this plugin, or another plugin has undone a part of it.
        """
        client_check.check_codec(client, self._keyring)
        if not self._config.sealing:
            return
        client_check.check_failures(client)
        self._datastores.check_client(client)
        if self._config.headers:
            client_check.check_headers(client)
        client_check.check_interceptors(client, self._keyring)

    # --- client ---------------------------------------------------------------------------------------------------

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """Add codec, failure converter, datastores and interceptors. Making the client raises if a later plugin takes
        them out.
        """
        namespace = config["namespace"]
        if self._config.sealing and not self._keyring.seals(namespace):
            raise ConfigurationError(
                f"namespace {namespace!r} has no master key: list it under namespaces, by name or by a pattern"
            )
        if self._config.headers and not self._config.sealing:
            client_check.refuse_headers_of_others(config)
        config["data_converter"] = self._apply(config["data_converter"], namespace, self._config)
        config["interceptors"] = self._add_interceptors(config)
        if self._config.headers:
            config["header_codec_behavior"] = HeaderCodecBehavior.CODEC
        self._compression.check(config.get("service_client"))
        return config

    def _add_interceptors(self, config: ClientConfig) -> list[ClientInterceptor]:
        """Return the client's interceptors with ours: first those that check, last those that see what others add."""
        sealing, keyring = self._config.sealing, self._keyring
        interceptors = list(config["interceptors"])
        if not client_check.has_guard(interceptors, keyring):
            memos = [ScheduleMemos()] if self._config.storage is not None and sealing else []
            nulls = [NullMemos()] if sealing else []
            interceptors = [client_check.Guard(keyring, self.verify), *memos, *interceptors, *nulls]
        # Where this client is made of another, that client's own seals with that client's converter.
        others = drop_client_payloads(interceptors, keyring)
        if not sealing:
            return others
        converter, namespace = config["data_converter"], config["namespace"]
        return [*others, ClientPayloads(keyring, converter, namespace, headers=self._config.headers)]

    async def connect_service_client(
        self, config: ConnectConfig, next: Callable[[ConnectConfig], Awaitable[ServiceClient]]
    ) -> ServiceClient:
        """Connect without gzip for gRPC messages, unless `EnvelopeConfig.grpc_compression` says otherwise."""
        return await self._compression.connect(config, next)

    # --- worker ---------------------------------------------------------------------------------------------------

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Guard the workflow runners, and get keys before activities run. Raises if the client does not encrypt."""
        client = config["client"]  # pyright: ignore[reportTypedDictNotRequiredAccess] - the SDK always gives it
        self.verify(client)
        pass_modules_through(config)
        if self._config.sealing:
            keep_heartbeats_out()
            guard_runners(config, screens=self._config.require_encryption)
            add_prewarm(config, self._keyring, client.namespace, self._verify_worker_client)
        self._datastores.raise_concurrency(config)
        return config

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        """Run the worker. It polls nothing before there is a key to seal with."""
        if worker.is_shutdown:
            raise RuntimeError("this worker has ended: make another")
        if not self._config.sealing or await prewarm_or_end(worker, self._prepare(worker)):
            await run_until_stopped(worker, next(worker))

    async def _prepare(self, worker: Worker) -> None:
        WorkerClient(self._verify_worker_client).check(worker.client)  # not always the client of `configure_worker`
        check_worker(worker, self._keyring)
        await prewarm_worker(self._keyring, worker.client.namespace, self._config.startup_jitter)

    def _verify_worker_client(self, client: Client) -> None:
        """As `verify`. A client that another plugin encrypts for will do, which that plugin has checked."""
        codec = find_codec(client.data_converter.payload_codec)
        if codec is None or codec.keyring is self._keyring or not codec.config.sealing:
            self.verify(client)

    # --- replayer -------------------------------------------------------------------------------------------------

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """Add a codec that opens. A replayer sends nothing."""
        # No work is lost where a result can't be opened, so there is no reason for a longer wait.
        opening = self._config.model_copy(update={"sealing": False, "activity_timeout": self._config.timeout})
        converter = config.get("data_converter") or DataConverter.default
        config["data_converter"] = self._apply(converter, config.get("namespace") or "default", opening)
        if self._config.headers:
            config["header_codec_behavior"] = HeaderCodecBehavior.CODEC
        pass_modules_through(config)
        runner = config.get("workflow_runner")
        if runner is not None and self._config.require_encryption:
            config["workflow_runner"] = guard_runner(runner, screens=True)
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
        """Replay the histories. The result for one that can't be opened holds the codec's error."""
        converter = replayer.config(active_config=True).get("data_converter") or DataConverter.default
        return explain_failures(next(replayer, look_ahead(histories, converter.payload_codec)))

    def _apply(self, converter: DataConverter, namespace: str, config: EnvelopeConfig) -> DataConverter:
        codec = EnvelopeCodec(config, namespace=namespace, keyring=self._keyring)
        return apply_codec(converter, codec, self._datastores)


def _make_config(config: EnvelopeConfig | MasterKey | str, settings: Mapping[str, Any]) -> EnvelopeConfig:
    """Return ``config``, or a configuration with ``config`` as its key and with ``settings``."""
    if not isinstance(config, EnvelopeConfig):
        return EnvelopeConfig(key=config, **settings)
    if settings:
        raise ConfigurationError(f"give {', '.join(settings)} in the configuration, or a key instead of it")
    return config
