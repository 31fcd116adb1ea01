"""A Temporal server for all tests, and for each test a client that encrypts and a worker."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator

import pytest
from greetings import Greet, greet
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from envelope_codec import EnvelopePlugin

pytest_plugins = ["envelope_codec.testing.fixtures"]


@pytest.fixture
async def server() -> AsyncIterator[WorkflowEnvironment]:
    """Start Temporal's dev server: the command on PATH, or else what the SDK downloads."""
    found = shutil.which("temporal")
    async with await WorkflowEnvironment.start_local(dev_server_existing_path=found) as environment:
        yield environment


@pytest.fixture
async def client(server: WorkflowEnvironment, envelope_plugin: EnvelopePlugin) -> Client:
    """Connect as the application does, with a master key in memory."""
    target = server.client.service_client.config.target_host
    return await Client.connect(target, namespace=server.client.namespace, plugins=[envelope_plugin])


@pytest.fixture
async def task_queue(client: Client) -> AsyncIterator[str]:
    """Run a worker, and yield the name of its task queue."""
    name = uuid.uuid4().hex
    async with Worker(client, task_queue=name, workflows=[Greet], activities=[greet]):
        yield name
