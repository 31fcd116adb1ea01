"""A namespace of which it is known how many payloads each corner of Temporal holds, under a key of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    WorkflowFailureError,
)
from temporalio.converter import DataConverter
from temporalio.worker import Worker

from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.kms import master_key
from tests.support.batch_signal import signal_all
from tests.support.census_workflows import (
    WORKFLOWS,
    Calling,
    Continuing,
    Failing,
    Greeter,
    Greeting,
    Parent,
    Updated,
    refuse,
)
from tests.support.context_header import ContextHeader
from tests.support.server_records import eventually
from tests.support.static_key_codec import StaticKeyCodec
from tests.support.surface_nexus import make_endpoint

NAMESPACE = "census"
_DAY = timedelta(days=1)


class Key:
    """A master key in a file."""

    def __init__(self, path: Path) -> None:
        create_key_file(path)
        self.uri = key_uri(path)
        self.id = master_key(self.uri).key_id


class Census:
    """Fills the namespace.

    Attributes:
        keys: by corner.
        expected: how many payloads each corner's key is needed by.
        clear: how many payloads in clear there are.
        gap: what an audit can't know of it.
    """

    clear = 2
    gap = (
        "1 payload of another codec (binary/encrypted) may hold an envelope: "
        "if none does, say --foreign binary/encrypted"
    )

    def __init__(self, connect: Any, address: str, folder: Path, name: str) -> None:
        self.keys: dict[str, Key] = {}
        self.expected: dict[str, int] = {}
        self._connect, self._address, self._folder, self._name = connect, address, folder, name

    async def fill(self) -> None:
        """Put something into every corner."""
        plain = await Client.connect(self._address, namespace=NAMESPACE)
        await self._fill_what_nobody_serves()
        await self._fill_schedule()
        await self._fill_batch(plain)
        await self._fill_standalone(plain)
        await self._fill_runs(plain)
        await self._fill_what_is_no_envelope(plain)
        runs = 4 + 1 + 2 + 1 + 2 + 1 + 1 + 2  # of each of these steps
        await eventually(lambda: _is_listed(plain, runs), f"{runs} workflows")

    async def _client(self, corner: str, expected: int, **more: Any) -> Client:
        self.keys[corner] = Key(self._folder / f"{corner}.json")
        self.expected[corner] = expected
        client: Client
        client, _ = await self._connect(self.keys[corner].uri, namespace=NAMESPACE, **more)
        return client

    def _id(self, what: str) -> dict[str, Any]:
        return {"id": f"{self._name} {what}", "task_queue": "none"}

    async def _fill_what_nobody_serves(self) -> None:
        client = await self._client("inputs", 2)
        await client.start_workflow("Unserved", args=["a", "b"], **self._id("inputs"))
        client = await self._client("memo", 2)
        await client.start_workflow("Unserved", memo={"a": 1, "b": 2}, **self._id("memo"))
        client = await self._client("header", 1, interceptors=[ContextHeader("c")])
        await client.start_workflow("Unserved", **self._id("header"))
        client = await self._client("signal and summary", 2 + 2)
        handle = await client.start_workflow("Unserved", **self._id("signal"), static_summary="s", static_details="d")
        await handle.signal("s", args=["a", "b"])

    async def _fill_schedule(self) -> None:
        """Its action's input and memo, and its own memo: in the schedule, and in the server's workflow for it."""
        client = await self._client("schedule", 3 + 3)
        action = ScheduleActionStartWorkflow("Unserved", "a", memo={"m": 1}, **self._id("scheduled"))
        spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=30 * _DAY)])
        await client.create_schedule(f"{self._name} schedule", Schedule(action=action, spec=spec), memo={"o": 1})

    async def _fill_batch(self, plain: Client) -> None:
        """A signal's argument: in the server's workflow for the operation, and in the workflow that got it."""
        client = await self._client("batch", 1 + 1)
        id = self._id("batch")
        await plain.start_workflow("Unserved", **id)
        await eventually(lambda: _is_listed(plain, 1, f"WorkflowId = '{id['id']}'"), "the workflow of the batch")
        await signal_all(client, f"WorkflowId = '{id['id']}'", await client.data_converter.encode(["a"]))

    async def _fill_standalone(self, plain: Client) -> None:
        client = await self._client("standalone activity", 2)
        await client.start_activity("served by none", args=["a", "b"], **self._id("a"), start_to_close_timeout=_DAY)
        client = await self._client("standalone operation", 1)
        endpoint = f"standalone-{self._name}"
        await make_endpoint(plain, endpoint, "none")
        operations = client.create_nexus_client(Greeting, endpoint)
        await operations.start_operation(Greeting.greet, "a", id=f"{self._name} operation")

        async def is_listed() -> bool:
            activities = [one async for one in plain.list_activities("")]
            return bool(activities and [one async for one in plain.list_nexus_operations("")])

        await eventually(is_listed, "the standalone activity and operation")

    async def _fill_runs(self, plain: Client) -> None:
        async with self._serving("parent and child", 4 + 2) as (client, options):
            await client.execute_workflow(Parent.run, "a", **options)
        # Inputs of workflow and activity; of the activity's failure two attributes and three details; of the workflow's
        # these again, and the attributes of the activity error around them.
        async with self._serving("failure", 2 + (2 + 3) + (3 + 3)) as (client, options):
            with pytest.raises(WorkflowFailureError):
                await client.execute_workflow(Failing.run, "a", **options)
        async with self._serving("continued", 2 + 2) as (client, options):
            await client.execute_workflow(Continuing.run, 1, **options)
        async with self._serving("update", 3) as (client, options):
            handle = await client.start_workflow(Updated.run, **options)
            assert await handle.execute_update(Updated.rename, "a") == "a"
            assert await handle.query(Updated.name, "p") == "pa"
            await handle.result()
        async with self._serving("operation", 2 + 2 + 1) as (client, options):
            await make_endpoint(plain, f"operation-{self._name}", options["task_queue"])
            await client.execute_workflow(Calling.run, args=[f"operation-{self._name}", "a"], **options)

    @asynccontextmanager
    async def _serving(self, corner: str, expected: int) -> AsyncIterator[tuple[Client, dict[str, Any]]]:
        client = await self._client(corner, expected)
        options = {"id": f"{self._name} {corner}", "task_queue": f"{self._name} {corner}"}
        async with Worker(
            client,
            task_queue=options["task_queue"],
            workflows=WORKFLOWS,
            activities=[refuse],
            nexus_service_handlers=[Greeter()],
        ):
            yield client, options

    async def _fill_what_is_no_envelope(self, plain: Client) -> None:
        await plain.start_workflow("Unserved", args=["a", "b"], **self._id("clear"))
        converter = replace(DataConverter.default, payload_codec=StaticKeyCodec())
        other = await Client.connect(self._address, namespace=NAMESPACE, data_converter=converter)
        await other.start_workflow("Unserved", "a", **self._id("foreign"))


async def _is_listed(client: Client, number: int, query: str = "") -> bool:
    return (await client.count_workflows(query)).count == number
