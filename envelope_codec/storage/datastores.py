"""The datastores of one configuration."""

from __future__ import annotations

import inspect

from temporalio.client import Client
from temporalio.converter import ExternalStorage
from temporalio.worker import Worker, WorkerConfig

from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.storage.external import configured_pools, with_our_storage, without_our_storage
from envelope_codec.storage.sparing import Sparing
from envelope_codec.temporal.codec import EnvelopeCodec

_SDK_CONCURRENCY = inspect.signature(Worker).parameters["max_workflow_task_external_storage_concurrency"].default
_CONCURRENCY = 32


class Datastores:
    """The datastores of one configuration: data converters use them, and clients are checked for them.

    Args:
        config: names the datastores. There may be none.

    Raises:
        ConfigurationError: a URL is wrong.
    """

    def __init__(self, config: EnvelopeConfig) -> None:
        self._pools = configured_pools(config)
        self._sparing = Sparing(answers=config.storage_query_threshold, memory=config.storage_replay_memory)

    def add_to(self, theirs: ExternalStorage | None, codec: EnvelopeCodec) -> ExternalStorage | None:
        """Return ``theirs``, which is the user's, with the datastores. ``codec`` seals what they are given."""
        writing = codec.config.storage is not None and codec.config.sealing
        threshold = codec.config.storage_threshold if writing else None
        return with_our_storage(theirs, self._pools, codec, threshold=threshold, sparing=self._sparing)

    def restore_in(self, storage: ExternalStorage | None, codec: EnvelopeCodec) -> ExternalStorage | None:
        """Return ``storage`` with the datastores: itself, if they are there."""
        there = without_our_storage(storage) is not storage
        return storage if there else self.add_to(storage, codec)

    def remove_from(self, storage: ExternalStorage | None) -> ExternalStorage | None:
        """Return ``storage`` as it was before `add_to`."""
        return without_our_storage(storage)

    def check_client(self, client: Client) -> None:
        """Raise `ConfigurationError` if ``client`` does not use these datastores."""
        storage = client.data_converter.external_storage
        drivers = [driver for driver in storage.drivers if isinstance(driver, EnvelopeDriver)] if storage else []
        if [driver.pool for driver in drivers] != self._pools:
            raise ConfigurationError(
                "the client does not use the datastore: another plugin set external_storage after EnvelopePlugin, "
                "which must be the last in the list"
            )

    def raise_concurrency(self, config: WorkerConfig) -> None:
        """Have a worker read and write more payloads at a time, in place, if it would take the SDK's default."""
        if self._pools and config.get("max_workflow_task_external_storage_concurrency") == _SDK_CONCURRENCY:
            config["max_workflow_task_external_storage_concurrency"] = _CONCURRENCY

    def close(self) -> None:
        """End the connections to the datastores."""
        for pool in self._pools:
            pool.close()
