"""The KMS goes away and comes back: nothing runs twice, nothing is lost, and no history says where the KMS is."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio import activity
from temporalio.api.enums.v1 import EventType, PendingActivityState
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.worker import Worker

from envelope_codec.cli.demo.search import Needles
from envelope_codec.cli.keygen import change_key_file, create_key_file, key_uri
from envelope_codec.kms import MasterKey, master_key
from envelope_codec.temporal.payload_walk import payloads_in
from envelope_codec.testing import FakeKms
from envelope_codec_local.key_file import ALL
from tests.support.kms_connection import KmsConnection
from tests.support.payload_points import FAR, Code, Hurry
from tests.support.server_records import describe, events, eventually, pending_activity, result_of
from tests.support.small_workflows import Delegate, Hello, Listen, Work

STARTED = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
BRIEF = {"lease": 0.5, "outage_grace": 0, "refusal_ttl": 0}
"""So that a key can't be used much longer than the KMS answers."""


SOON = timedelta(seconds=2)
"""The server hands out a failed workflow task again after so long."""


async def lapsed(plugin: Any) -> None:
    """Wait until the plugin has no key to seal with at hand."""

    async def none_at_hand() -> bool:
        return plugin.keyring.try_sealing_key("default") is None

    await eventually(none_at_hand, "the lease's end")


@pytest.mark.parametrize(("activity_name", "argument"), [("echo", "the input"), ("produce", "")])
@pytest.mark.parametrize("timeout", [60, 0.5], ids=["short outage", "long outage"])
async def test_activity_does_not_run_before_its_result_can_be_sealed(
    activity_name: str, argument: str, timeout: float, connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    """In an outage that outlasts the codec's patience, attempts fail; the activity's own code still runs once."""
    connection, work = KmsConnection(kms), Work()
    near, _ = await connect(kms)
    far, plugin = await connect(connection, timeout=timeout, activity_timeout=timeout, **BRIEF)
    there = f"{name} there"
    async with (
        Worker(near, task_queue=name, workflows=[Delegate]),
        Worker(far, task_queue=there, activities=[work.echo, work.produce]),
    ):
        await eventually(lambda: _true(plugin.keyring.try_sealing_key("default")), "the worker's start")
        connection.cut = True
        await lapsed(plugin)
        refused = connection.refused
        handle = await near.start_workflow(
            Delegate.run, args=[activity_name, there, argument], id=name, task_queue=name
        )
        attempts = 1 if timeout == 60 else 2
        await pending_activity(plain, name, lambda one: one.state == STARTED and one.attempt >= attempts)
        await eventually(lambda: _true(connection.refused > refused + 1), "calls of the KMS")
        assert work.attempts == []
        connection.cut = False
        expected = "echo of the input" if argument else "a product"
        assert await result_of(handle) == expected
    assert len(work.attempts) == 1
    if timeout == 60:
        assert work.attempts == [1]


async def test_attempt_that_times_out_while_it_waits_for_the_kms_never_runs(
    connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    """Temporal has begun another attempt by then."""
    connection, code = KmsConnection(kms), Code()
    near, _ = await connect(kms)
    far, plugin = await connect(connection, timeout=60, activity_timeout=60, **BRIEF)
    (payload,) = await near.data_converter.encode(["something"])
    async with (
        Worker(plain, task_queue=name, workflows=[Hurry]),
        Worker(far, task_queue=name + FAR, activities=code.activities),
    ):
        await eventually(lambda: _true(plugin.keyring.try_sealing_key("default")), "the worker's start")
        connection.cut = True
        await lapsed(plugin)
        await plain.start_workflow(Hurry.run, RawValue(payload), id=name, task_queue=name)
        await pending_activity(plain, name, lambda one: one.state == STARTED and one.attempt == 2)
        connection.cut = False
        handle = near.get_workflow_handle(name, result_type=str)
        assert await result_of(handle) == "something"
    assert code.runs == 1


async def test_activity_does_not_run_in_direct_mode_after_a_payload_could_not_be_sealed(
    connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    connection, work = KmsConnection(kms), Work()
    near, _ = await connect(kms)
    far, _ = await connect(connection, timeout=0.4, activity_timeout=0.4, wrapping="direct")
    there = f"{name} there"
    async with (
        Worker(near, task_queue=name, workflows=[Delegate]),
        Worker(far, task_queue=there, activities=[work.wait]),
    ):
        handle = await near.start_workflow(Delegate.run, args=["wait", there, "care"], id=name, task_queue=name)
        await asyncio.wait_for(work.begun.wait(), 60)
        connection.cut = True
        work.go_on.set()
        await pending_activity(plain, name, lambda one: one.attempt >= 4)
        assert work.attempts == [1]
        connection.cut = False
        assert await result_of(handle) == "waited with care"
    assert len(work.attempts) == 2


async def test_heartbeat_details_survive_an_outage(connect: Any, plain: Client, name: str, kms: FakeKms) -> None:
    """The SDK gives an activity up for good where its heartbeat details can't be read, so that has patience."""
    connection = KmsConnection(kms)
    seen: list[Any] = []

    @activity.defn(name="resume")
    async def resume() -> str:
        if activity.info().attempt == 1:
            activity.heartbeat("the first half")
            connection.cut = True  # no wrap was verified, so opening the details needs a call
            raise RuntimeError("again, please")
        seen.extend(activity.info().heartbeat_details)
        return "the second half"

    starter, _ = await connect(kms)
    client, _ = await connect(connection, timeout=0.3, verify_wraps=False)
    async with Worker(client, task_queue=name, workflows=[Delegate], activities=[resume]):
        handle = await starter.start_workflow(Delegate.run, args=["resume", name, ""], id=name, task_queue=name)
        await pending_activity(plain, name, lambda one: one.attempt == 2 and one.state == STARTED)
        await eventually(lambda: _true(connection.refused >= 4), "calls of the KMS for more than 0.3 s")
        assert seen == []
        connection.cut = False
        assert await result_of(handle) == "the second half"
    assert seen == ["the first half"]


async def test_running_activity_is_not_lost_when_the_kms_goes_down(
    connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    """Its result waits for the KMS."""
    connection, work = KmsConnection(kms), Work()
    near, _ = await connect(kms)
    far, plugin = await connect(connection, timeout=60, **BRIEF)
    there = f"{name} there"
    async with (
        Worker(near, task_queue=name, workflows=[Delegate]),
        Worker(far, task_queue=there, activities=[work.wait]),
    ):
        handle = await near.start_workflow(Delegate.run, args=["wait", there, "care"], id=name, task_queue=name)
        await asyncio.wait_for(work.begun.wait(), 60)
        connection.cut = True
        await lapsed(plugin)
        refused = connection.refused
        work.go_on.set()
        await eventually(lambda: _true(connection.refused > refused), "the result's waiting")
        connection.cut = False
        assert await result_of(handle) == "waited with care"
    assert work.attempts == [1]


class Disabling:
    """A master key that can be disabled and enabled again, whose key id and place are recognized in a search."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.secret = f"account-0123-{kind}-marigold"
        if kind == "fake":
            self._kms = FakeKms(f"fakekms://{self.secret}/key")
            self.key: MasterKey = self._kms
        else:
            self._path = folder / self.secret / "master.json"
            self._path.parent.mkdir()
            create_key_file(self._path)
            self.key = master_key(key_uri(self._path))
        self.needles = Needles([self.secret, self.key.key_id])

    def disable(self) -> None:
        if isinstance(self.key, FakeKms):
            self.key.denied = True
        else:
            change_key_file(self._path, lambda file: replace(file, disabled=frozenset({ALL})))

    def enable(self) -> None:
        if isinstance(self.key, FakeKms):
            self.key.denied = False
        else:
            change_key_file(self._path, lambda file: replace(file, disabled=frozenset()))


@pytest.mark.parametrize("kind", ["fake", "file"])
async def test_history_of_a_failing_codec_names_neither_key_nor_place(
    kind: str, connect: Any, plain: Client, name: str, tmp_path: Path
) -> None:
    """The key is disabled in mid-flow: workflow task and activity fail, and succeed once it is enabled again."""
    key, work = Disabling(kind, tmp_path), Work()
    client, plugin = await connect(key.key, timeout=1, activity_timeout=1, **BRIEF)
    async with Worker(
        client, task_queue=name, workflows=[Listen, Delegate], activities=[work.wait], max_cached_workflows=0
    ):
        listening = await client.start_workflow(Listen.run, id=f"{name} listen", task_queue=name, task_timeout=SOON)
        delegating = await client.start_workflow(
            Delegate.run, args=["wait", name, "care"], id=f"{name} delegate", task_queue=name, task_timeout=SOON
        )
        await asyncio.wait_for(work.begun.wait(), 60)
        # The signal is sealed before, and the worker is asked after.
        (said,) = await client.data_converter.encode(["something"])
        key.disable()
        await lapsed(plugin)
        await plain.get_workflow_handle(listening.id).signal("say", RawValue(said))
        work.go_on.set()
        failed = await eventually(lambda: _workflow_task_failed(plain, listening.id), "a failed workflow task")
        pending = await pending_activity(plain, delegating.id, lambda one: one.HasField("last_failure"))
        assert failed.workflow_task_failed_event_attributes.failure.message
        assert pending.last_failure.message
        told: list[Message] = [*await events(plain, listening.id), *await events(plain, delegating.id)]
        told += [await describe(plain, listening.id), await describe(plain, delegating.id)]
        for message in told:
            assert key.needles.find_in(without_payloads(message)) == set()
        key.enable()
        assert await result_of(listening) == "something"
        assert await result_of(delegating) == "waited with care"
    for message in [*await events(plain, listening.id), *await events(plain, delegating.id)]:
        assert key.needles.find_in(without_payloads(message)) == set()
    assert any(key.needles.find_in(message.SerializeToString()) for message in told), "the search works"


def without_payloads(message: Message) -> bytes:
    """The bytes of a message without its payloads, whose metadata name the key on purpose."""
    copy = type(message)()
    copy.CopyFrom(message)
    for payload in list(payloads_in(copy)):
        payload.Clear()
    return copy.SerializeToString()


async def _workflow_task_failed(plain: Client, workflow_id: str) -> HistoryEvent | None:
    failed = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    return next((event for event in await events(plain, workflow_id) if event.event_type == failed), None)


async def _true(fact: object) -> bool | None:
    return bool(fact) or None


@pytest.mark.parametrize("ending", ["shutdown", "cancel"])
async def test_a_workers_shutdown_is_not_held_up_by_what_waits_for_the_kms(
    ending: str, connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    """It waits a hundred seconds for a key in peace, and the shutdown takes a fraction of that."""
    connection = KmsConnection(kms)
    near, _ = await connect(kms)
    far, plugin = await connect(connection, timeout=100, activity_timeout=100, **BRIEF)
    worker = Worker(far, task_queue=name, workflows=[Hello])
    running = asyncio.ensure_future(worker.run())
    await eventually(lambda: _true(plugin.keyring.try_sealing_key("default")), "the worker's start")
    connection.cut = True
    await lapsed(plugin)
    refused = connection.refused
    handle = await near.start_workflow(Hello.run, "Ada", id=name, task_queue=name)
    await eventually(lambda: _true(connection.refused > refused + 1), "a workflow task that waits for the KMS")
    if ending == "shutdown":
        await asyncio.wait_for(worker.shutdown(), 50)
        await asyncio.wait_for(running, 10)
    else:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, 50)
    connection.cut = False
    async with Worker(far, task_queue=name, workflows=[Hello]):
        assert await result_of(handle) == "Hello, Ada!"
