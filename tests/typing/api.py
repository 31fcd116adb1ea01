"""The public API as users write it. Type checkers read this file, and nothing runs it.

A line with ``ignore`` comments must be an error for both checkers: each reports an ``ignore`` that is not needed.
"""

from __future__ import annotations

from temporalio.client import Client
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.worker import Replayer
from typing_extensions import assert_type

from envelope_codec import (
    EnvelopeCodec,
    EnvelopeConfig,
    EnvelopeError,
    EnvelopePlugin,
    Event,
    Keyring,
    MasterKey,
    NamespaceKeys,
    SealingContext,
    envelope_data_converter,
)

ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd"


def choose_key(context: SealingContext) -> MasterKey | str | None:
    return context.workflow_id or None


def choose_keys(context: SealingContext) -> NamespaceKeys:
    NamespaceKeys(key=ARN, lesae="1m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    NamespaceKeys(lease="1m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    return NamespaceKeys(key=f"hashivault://{context.namespace}", lease="1m")


def plugin(key: MasterKey, legacy: PayloadCodec) -> EnvelopePlugin:
    EnvelopePlugin(ARN)
    EnvelopePlugin(key)
    EnvelopePlugin(EnvelopeConfig(key=key))
    EnvelopePlugin(ARN, lease="1m", outage_grace=0, timeout=2.5, storage_threshold="256KiB", max_payloads=1_000)
    EnvelopePlugin(ARN, backup_keys=ARN, decrypt_keys=[key, ARN], former_storage=("file:///a", "file:///b"))
    EnvelopePlugin(ARN, namespaces={"prod": NamespaceKeys(key=key), "dev": {"key": ARN, "lease": "30s"}})
    EnvelopePlugin(ARN, required="prod-*", resolver=choose_key, wrapping="direct", storage=None)
    EnvelopePlugin(ARN, required=["prod-*"], resolver=choose_keys, headers=False)
    EnvelopePlugin(ARN, legacy_codecs=[legacy, "module:codec"], context={"tenant": "a"})
    EnvelopePlugin(ARN, compression="zstd", compression_min_size="1KiB", max_payload=2**26)

    EnvelopePlugin(ARN, lesae="1m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    EnvelopePlugin(ARN, lease=b"1m")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    EnvelopePlugin(ARN, backup_keys=[1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    EnvelopePlugin(ARN, wrapping="directly")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    EnvelopePlugin(ARN, compression="gzip")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    EnvelopePlugin(ARN, max_payloads="many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    EnvelopePlugin(ARN, resolver=ARN)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    EnvelopePlugin(ARN, namespaces={"a": {}})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    EnvelopePlugin(ARN, key=key)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    EnvelopePlugin()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    return EnvelopePlugin(ARN, observer=Watching())


class Watching:
    def on_event(self, event: Event) -> None:
        assert_type(event.outcome, str)


def configuration(key: MasterKey) -> EnvelopeConfig:
    EnvelopeConfig(key=key, lease="1m")
    EnvelopeConfig(namespaces={"prod": {"key": key}})
    EnvelopeConfig(key=key, lesae="1m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    EnvelopeConfig(key=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    config = EnvelopeConfig.from_env({})
    assert_type(config, EnvelopeConfig)
    assert_type(config.lease, float)
    assert_type(config.keyring(), Keyring)
    return EnvelopeConfig.from_file("envelope.toml")


def converter(key: MasterKey) -> DataConverter:
    envelope_data_converter(key, lesae="1m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    return envelope_data_converter(key, base=DataConverter.default, namespace="prod", lease="1m", sealing=False)


def codec(key: MasterKey) -> EnvelopeCodec:
    EnvelopeCodec(key, lease="1m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    return EnvelopeCodec(EnvelopeConfig(key=key, lease="1m"), namespace="prod")


async def client() -> Client:
    with EnvelopePlugin(ARN) as plugin:
        assert_type(plugin, EnvelopePlugin)
        assert_type(plugin.config, EnvelopeConfig)
        assert_type(plugin.keyring, Keyring)
        Replayer(workflows=[], plugins=[plugin])
        found = await Client.connect("localhost:7233", plugins=[plugin])
        plugin.verify(found)
        return found


def errors(error: EnvelopeError) -> bool:
    assert_type(error.key_id, str | None)
    assert_type(error.operation, str | None)
    return error.retryable
