"""The datastores of a configuration get into a data converter, and are missed where another plugin took them out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.converter import DataConverter

from envelope_codec import ConfigurationError, EnvelopeCodec, EnvelopeConfig
from envelope_codec.storage.datastores import Datastores
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.testing import FakeKms

NAME = "max_workflow_task_external_storage_concurrency"


def config(tmp_path: Path, *, stored: bool = True) -> EnvelopeConfig:
    return EnvelopeConfig(key=FakeKms(), storage=f"file://{tmp_path}" if stored else None)


async def client(storage: Any) -> Client:
    converter = dataclasses.replace(DataConverter.default, external_storage=storage)
    return await Client.connect("127.0.0.1:1", lazy=True, data_converter=converter)


async def test_they_are_added_restored_and_removed(tmp_path: Path) -> None:
    codec = EnvelopeCodec(config(tmp_path))
    stores = Datastores(codec.config)
    storage = stores.add_to(None, codec)
    assert storage is not None
    assert [type(driver) for driver in storage.drivers] == [EnvelopeDriver]
    assert storage.payload_size_threshold == codec.config.storage_threshold
    assert stores.restore_in(storage, codec) is storage
    assert stores.restore_in(None, codec) is not None
    assert stores.remove_from(storage) is None
    stores.check_client(await client(storage))
    for other in (None, Datastores(codec.config).add_to(None, codec)):
        with pytest.raises(ConfigurationError, match="the client does not use the datastore"):
            stores.check_client(await client(other))
    stores.close()
    codec.close()


async def test_there_may_be_none(tmp_path: Path) -> None:
    codec = EnvelopeCodec(config(tmp_path, stored=False))
    stores = Datastores(codec.config)
    assert stores.add_to(None, codec) is None
    assert stores.restore_in(None, codec) is None
    stores.check_client(await client(None))
    given: Any = {NAME: 3}
    stores.raise_concurrency(given)
    assert given == {NAME: 3}
    stores.close()
    codec.close()


def test_a_worker_does_more_at_a_time_unless_it_says_how_much(tmp_path: Path) -> None:
    stores = Datastores(config(tmp_path))
    for before, after in ((3, 32), (1, 1), (50, 50), (None, None)):
        given: Any = {NAME: before}
        stores.raise_concurrency(given)
        assert given == {NAME: after}
    stores.close()
