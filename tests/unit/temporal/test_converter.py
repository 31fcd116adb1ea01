"""A codec and what belongs to it get into a data converter once, and what the user has stays."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.converter import DataConverter, DefaultFailureConverter, ExternalStorage, PayloadCodec, StorageDriver

from envelope_codec import ConfigurationError, EnvelopeConfig
from envelope_codec.keys.keyring import Keyring
from envelope_codec.storage.datastores import Datastores
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.storage.external import without_our_storage
from envelope_codec.temporal.chain import CodecChain
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.converter import apply_codec, merge_codec
from envelope_codec.temporal.failure_converter import EnvelopeFailureConverter, hides_failures
from envelope_codec.testing import FakeKms

CONFIG = EnvelopeConfig(key=FakeKms())


class Theirs(PayloadCodec):
    async def encode(self, payloads: Any) -> Any:
        return payloads

    async def decode(self, payloads: Any) -> Any:
        return payloads


class TheirDriver(StorageDriver):
    """A driver of the user's. It is only carried along."""

    def name(self) -> str:
        return "theirs"

    async def store(self, context: Any, payloads: Any) -> Any:
        raise NotImplementedError

    async def retrieve(self, context: Any, claims: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Datastores]:
    stores = Datastores(CONFIG.model_copy(update={"storage": f"file://{tmp_path}"}))
    yield stores
    stores.close()


def is_stored(converter: DataConverter) -> bool:
    storage = converter.external_storage
    return storage is not None and isinstance(storage.drivers[0], EnvelopeDriver)


@pytest.fixture
def keyring() -> Iterator[Keyring]:
    keyring = CONFIG.keyring()
    yield keyring
    keyring.close()


def codec(keyring: Keyring, namespace: str = "n", config: EnvelopeConfig = CONFIG) -> EnvelopeCodec:
    return EnvelopeCodec(config, namespace=namespace, keyring=keyring)


def test_a_codec_comes_after_the_users(keyring: Keyring, stores: Datastores) -> None:
    theirs, ours = Theirs(), codec(keyring)
    base = dataclasses.replace(DataConverter.default, payload_codec=theirs)
    merged = merge_codec(base, ours, stores)
    assert isinstance(merged.payload_codec, CodecChain)
    assert merged.payload_codec.codecs == (theirs, ours)
    assert merged.failure_converter_class is EnvelopeFailureConverter
    assert is_stored(merged)
    assert merge_codec(DataConverter.default, ours, stores).payload_codec is ours


def test_without_sealing_failures_are_made_as_before(keyring: Keyring, stores: Datastores) -> None:
    config = CONFIG.model_copy(update={"sealing": False})
    merged = apply_codec(DataConverter.default, codec(keyring, config=config), stores)
    assert merged.failure_converter_class is DefaultFailureConverter


def test_applied_twice_is_applied_once(keyring: Keyring, stores: Datastores) -> None:
    once = apply_codec(DataConverter.default, codec(keyring), stores)
    assert apply_codec(once, codec(keyring), stores) is once


def test_what_another_plugin_took_out_is_put_back(keyring: Keyring, stores: Datastores) -> None:
    once = apply_codec(DataConverter.default, codec(keyring), stores)
    bare = dataclasses.replace(once, failure_converter_class=DefaultFailureConverter, external_storage=None)
    again = apply_codec(bare, codec(keyring), stores)
    assert again.payload_codec is once.payload_codec
    assert hides_failures(again.failure_converter_class)
    assert is_stored(again)


@pytest.mark.parametrize("theirs", [None, Theirs()])
def test_a_codec_of_another_namespace_takes_the_place_of_the_one_before(
    keyring: Keyring, stores: Datastores, theirs: PayloadCodec | None
) -> None:
    storage = ExternalStorage(drivers=[TheirDriver()])
    base = dataclasses.replace(DataConverter.default, payload_codec=theirs, external_storage=storage)
    once = apply_codec(base, codec(keyring), stores)
    other = codec(keyring, "other")
    again = apply_codec(once, other, stores)
    if theirs is None:
        assert again.payload_codec is other
    else:
        assert isinstance(again.payload_codec, CodecChain)
        assert again.payload_codec.codecs == (theirs, other)
    assert is_stored(again)
    assert without_our_storage(again.external_storage) is storage


def test_a_codec_with_another_keyring_is_refused(keyring: Keyring, stores: Datastores) -> None:
    other = CONFIG.keyring()
    once = apply_codec(DataConverter.default, codec(keyring), stores)
    with pytest.raises(ConfigurationError, match="encrypts already"):
        apply_codec(once, codec(other), stores)
    other.close()
