"""What the application does, what Temporal learns of it, and what happens when the KMS does not help."""

from __future__ import annotations

import pytest
from greetings import Greet, greet
from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError
from temporalio.worker import Worker

from envelope_codec import KeyDenied
from envelope_codec.testing import FakeKms
from envelope_codec.testing.histories import assert_nothing_in_clear


async def test_a_greeting_is_sealed(client: Client, task_queue: str) -> None:
    handle = await client.start_workflow(Greet.run, "Ada Lovelace", id="greeting", task_queue=task_queue)
    assert await handle.result() == "Hello, Ada Lovelace"
    assert_nothing_in_clear(await handle.fetch_history(), secrets=["Ada Lovelace"])


async def test_the_words_of_a_failure_are_sealed(client: Client, task_queue: str) -> None:
    handle = await client.start_workflow(Greet.run, "        ", id="failing", task_queue=task_queue)
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert_nothing_in_clear(await handle.fetch_history(), secrets=["is no name"])


async def test_an_outage_of_the_kms_delays_and_loses_nothing(client: Client, fake_kms: FakeKms) -> None:
    calls: list[str] = []

    def come_back(operation: str) -> None:
        calls.append(operation)
        fake_kms.down = len(calls) < 3

    fake_kms.before_call = come_back
    handle = await client.start_workflow(Greet.run, "Ada", id="delayed", task_queue="later")
    assert calls[:3] == ["wrap"] * 3  # two calls in vain, and one that made the key
    async with Worker(client, task_queue="later", workflows=[Greet], activities=[greet]):
        assert await handle.result() == "Hello, Ada"


async def test_without_permission_nothing_is_started(client: Client, fake_kms: FakeKms) -> None:
    fake_kms.denied = True
    with pytest.raises(KeyDenied):
        await client.start_workflow(Greet.run, "Ada", id="refused", task_queue="nobody")
    with pytest.raises(RPCError, match="not found"):
        await client.get_workflow_handle("refused").describe()
