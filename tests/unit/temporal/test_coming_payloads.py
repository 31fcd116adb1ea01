"""Payloads of a history are found before its replay begins, and their keys asked for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.history.v1 import HistoryEvent
from temporalio.bridge.proto.workflow_activation import (
    ResolveActivity,
    WorkflowActivation,
    WorkflowActivationJob,
)
from temporalio.bridge.worker import decode_activation
from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.worker import Replayer, WorkflowReplayResult

from envelope_codec import EnvelopeCodec, EnvelopePlugin
from envelope_codec.errors import InvalidCiphertext, MalformedEnvelope
from envelope_codec.temporal.coming_payloads import find_coming, look_ahead
from envelope_codec.temporal.converter import apply_codec
from envelope_codec.testing import FakeKms

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"plain"')
RESULT = "activity_task_completed_event_attributes.result"


@workflow.defn
class Nothing:
    @workflow.run
    async def run(self) -> None:
        """Return."""


def event(path: str, *payloads: Payload) -> HistoryEvent:
    """An event with ``payloads`` in the field that ``path`` leads to."""
    made = HistoryEvent()
    field: Any = made
    for name in path.split("."):
        field = getattr(field, name)
    field.CopyFrom(Payloads(payloads=payloads))
    return made


async def sealed_by(kms: FakeKms, count: int) -> list[Payload]:
    """A payload of each of so many processes."""
    payloads = []
    for _ in range(count):
        with EnvelopePlugin(kms) as plugin:
            payloads += await EnvelopeCodec(kms, keyring=plugin.keyring).encode([PLAIN])
    return payloads


async def iterate(*histories: WorkflowHistory) -> AsyncIterator[WorkflowHistory]:
    for history in histories:
        yield history


@pytest.mark.parametrize(
    "path",
    [
        "workflow_execution_started_event_attributes.input",
        "workflow_execution_signaled_event_attributes.input",
        "workflow_execution_update_accepted_event_attributes.accepted_request.input.args",
        RESULT,
        "child_workflow_execution_completed_event_attributes.result",
    ],
)
def test_what_a_replay_opens_is_found(path: str) -> None:
    assert [*find_coming([event(path, PLAIN, PLAIN), HistoryEvent(), event(path, PLAIN)])] == [PLAIN] * 3


@pytest.mark.parametrize(
    "path",
    [
        "activity_task_scheduled_event_attributes.input",
        "start_child_workflow_execution_initiated_event_attributes.input",
        "workflow_execution_completed_event_attributes.result",
    ],
)
def test_what_a_replay_makes_anew_is_not_asked_for(path: str) -> None:
    assert not [*find_coming([event(path, PLAIN)])]


async def test_keys_of_a_history_are_fetched_at_once_before_the_replay_asks_for_one_after_another() -> None:
    kms = FakeKms()
    payloads = await sealed_by(kms, 4)
    history = WorkflowHistory("w", [event(RESULT, payload) for payload in payloads])
    together = threading.Barrier(4)  # none of the calls is answered before all have come

    def meet(operation: str) -> None:
        together.wait(20.0)

    kms.before_call = meet
    before = kms.unwraps
    opened: list[Payload] = []

    @asynccontextmanager
    async def replay(
        replayer: Replayer, histories: AsyncIterator[WorkflowHistory]
    ) -> AsyncIterator[AsyncIterator[WorkflowReplayResult]]:
        async def results() -> AsyncIterator[WorkflowReplayResult]:
            codec = replayer.config(active_config=True)["data_converter"].payload_codec
            assert codec is not None
            async for each in histories:
                for payload in find_coming(each.events):
                    opened.extend(await codec.decode([payload]))
                yield WorkflowReplayResult(each, None)

        yield results()

    with EnvelopePlugin(kms) as plugin:
        replayer = Replayer(workflows=[Nothing], plugins=[plugin])
        async with plugin.run_replayer(replayer, iterate(history), replay) as results:
            assert [result.history async for result in results] == [history]
    assert opened == [PLAIN] * 4
    assert kms.unwraps == before + 4


@pytest.mark.parametrize("codec", [None, "other"])
async def test_a_replay_without_our_codec_is_left_alone(codec: str | None) -> None:
    class Other(PayloadCodec):
        async def encode(self, payloads: Any) -> list[Payload]:
            return list(payloads)

        decode = encode

    history = WorkflowHistory("w", [event(RESULT, PLAIN)])
    found = look_ahead(iterate(history), Other() if codec else None)
    assert [each async for each in found] == [history]


class Together(FakeKms):
    """A KMS that answers as soon as so many calls are under way at once, and none before."""

    def __init__(self, kms: FakeKms, count: int) -> None:
        super().__init__(kms.key_id)
        self._versions = kms._versions
        self._barrier = threading.Barrier(count)
        self.before_call = self._await_others

    def _await_others(self, operation: str) -> None:
        self._barrier.wait(5.0)


def task_of(*payloads: Payload) -> WorkflowActivation:
    """A workflow task, each of whose jobs has one payload."""
    jobs = [
        WorkflowActivationJob(
            resolve_activity=ResolveActivity(seq=number, result={"completed": {"result": payload}})  # type: ignore[arg-type]
        )
        for number, payload in enumerate(payloads)
    ]
    return WorkflowActivation(jobs=jobs)


async def open_task(task: WorkflowActivation, codec: EnvelopeCodec, base: DataConverter | None = None) -> list[Payload]:
    """Open it as a worker of the SDK does."""
    converter = apply_codec(base or DataConverter(), codec, NoStores())
    await decode_activation(task, converter, True, 1)
    return [job.resolve_activity.result.completed.result for job in task.jobs]


class NoStores:
    """A configuration without datastores."""

    add_to = restore_in = staticmethod(lambda storage, codec: storage)
    remove_from = staticmethod(lambda storage: storage)


async def test_the_keys_of_one_workflow_task_are_asked_for_at_once_task_after_task() -> None:
    kms = FakeKms()
    sealed = await sealed_by(kms, 18)
    with EnvelopePlugin(Together(kms, 3)) as plugin:
        codec = EnvelopeCodec(kms, keyring=plugin.keyring)
        for begin in range(0, 18, 3):
            assert await open_task(task_of(*sealed[begin : begin + 3]), codec) == [PLAIN] * 3


async def test_workflow_tasks_at_the_same_time_each_get_what_is_theirs() -> None:
    kms = FakeKms()
    sealed = await sealed_by(kms, 8)
    with EnvelopePlugin(Together(kms, 8)) as plugin:
        codec = EnvelopeCodec(kms, keyring=plugin.keyring)
        tasks = [open_task(task_of(*sealed[begin : begin + 2]), codec) for begin in range(0, 8, 2)]
        assert await asyncio.gather(*tasks) == [[PLAIN] * 2] * 4


async def test_a_workflow_task_of_hostile_payloads_costs_a_few_calls() -> None:
    kms = FakeKms()
    others = await sealed_by(FakeKms(kms.key_id), 50)  # other key material: none opens
    with EnvelopePlugin(kms) as plugin:
        codec = EnvelopeCodec(kms, keyring=plugin.keyring)
        with pytest.raises(InvalidCiphertext):
            await open_task(task_of(*others), codec)
    assert kms.unwraps <= 9


async def test_nothing_is_asked_for_after_what_is_no_envelope_at_all() -> None:
    kms = FakeKms()
    [bad, *others] = await sealed_by(kms, 3)
    bad.metadata["encryption-wrapped-key"] = b""
    before = kms.unwraps
    with EnvelopePlugin(kms) as plugin, pytest.raises(MalformedEnvelope):
        await open_task(task_of(bad, *others), EnvelopeCodec(kms, keyring=plugin.keyring))
    assert kms.unwraps == before
