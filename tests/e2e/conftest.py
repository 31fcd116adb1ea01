"""Clients of the real Temporal dev server: plain ones, and ones that encrypt."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest
from devstack import TemporalServer
from temporalio.client import Client
from temporalio.converter import DataConverter

from envelope_codec import EnvelopeConfig, EnvelopePlugin
from envelope_codec.testing import FakeKms


class Encrypting(NamedTuple):
    """A client that encrypts, and the plugin that makes it."""

    client: Client
    plugin: EnvelopePlugin


Connect = Callable[..., Awaitable[Encrypting]]


@pytest.fixture
def name() -> str:
    """For the task queue and as a beginning of workflow ids: of this test alone."""
    return uuid.uuid4().hex


@pytest.fixture
def kms() -> FakeKms:
    return FakeKms()


@pytest.fixture
async def plain(temporal_server: TemporalServer) -> Client:
    return await Client.connect(temporal_server.address)


@pytest.fixture
async def connect(temporal_server: TemporalServer) -> AsyncIterator[Connect]:
    """Makes clients with a plugin of their own each, as separate processes have; settings are the plugin's."""
    with ExitStack() as stack:

        async def connect(
            key: Any,
            *,
            namespace: str = "default",
            address: str = "",
            data_converter: DataConverter = DataConverter.default,
            interceptors: Any = (),
            **settings: Any,
        ) -> Encrypting:
            if not isinstance(key, EnvelopeConfig):
                settings.setdefault("startup_jitter", 0)
            plugin = stack.enter_context(EnvelopePlugin(key, **settings))
            client = await Client.connect(
                address or temporal_server.address,
                namespace=namespace,
                data_converter=data_converter,
                interceptors=interceptors,
                plugins=[plugin],
            )
            return Encrypting(client, plugin)

        yield connect
