"""Payloads of a history are found before its replay begins, and their keys asked for."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.converter import PayloadCodec
from temporalio.worker import Replayer, WorkflowReplayResult

from envelope_codec import EnvelopeCodec, EnvelopePlugin
from envelope_codec.temporal.coming_payloads import find_coming, look_ahead
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
