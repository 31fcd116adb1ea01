"""A workflow task waits for the KMS until its time is over. What it runs locally then is lost, and runs again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from envelope_codec.testing import FakeKms
from tests.soak.workflows import Short
from tests.support.server_records import events, eventually, result_of

TIMED_OUT = EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT
FAILED = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED


class Stamps:
    def __init__(self) -> None:
        self.runs = 0

    @activity.defn
    async def stamp(self, text: str, mark: str) -> str:
        self.runs += 1
        return f"{text}.{mark}"


@contextmanager
def held_up(kms: FakeKms) -> Iterator[threading.Event]:
    """Let no unwrap be answered before the event is set."""
    go_on = threading.Event()

    def wait(operation: str) -> None:
        if operation == "unwrap":
            go_on.wait()

    kms.before_call = wait
    try:
        yield go_on
    finally:
        go_on.set()


@pytest.mark.parametrize(
    ("timeout", "task_timeout", "ends_with"), [(30.0, 4.0, TIMED_OUT), (1.0, 10.0, FAILED)], ids=["longer", "shorter"]
)
async def test_a_local_activity_runs_once_where_the_wait_is_shorter_than_the_task(
    timeout: float, task_timeout: float, ends_with: int, kms: FakeKms, connect: Any, plain: Client, name: str
) -> None:
    starter, client = (await connect(kms)).client, (await connect(kms, timeout=timeout)).client
    handle = await starter.start_workflow(
        Short.run, "a", id=name, task_queue=name, task_timeout=timedelta(seconds=task_timeout)
    )
    await client.data_converter.encode(["a payload, so that the worker has its own key"])
    stamps = Stamps()
    with held_up(kms) as go_on:
        async with Worker(
            client,
            task_queue=name,
            workflows=[Short],
            activities=[stamps.stamp],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):

            async def over() -> bool:
                return any(event.event_type == ends_with for event in await events(plain, name))

            await eventually(over, "the end of the first task")
            go_on.set()
            assert await result_of(handle) == "a.short"
    assert (stamps.runs == 1) is (ends_with == FAILED)
