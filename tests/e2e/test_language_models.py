"""The plugin beside those of language models, before and after ours: what users and models say reaches no history."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import pytest
from devstack import TemporalServer
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowFailureError
from temporalio.converter import DataConverter
from temporalio.plugin import SimplePlugin
from temporalio.worker import Replayer, Worker

from envelope_codec import ConfigurationError, EnvelopePlugin
from envelope_codec.cli.demo.search import Needles
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.temporal.payload_walk import payloads_in
from envelope_codec.testing import FakeKms
from tests.support.model_script import ANSWER, BROKEN, FACT, FATAL, NEEDLE, QUESTION, Trial, capital
from tests.support.server_records import events

pytestmark = pytest.mark.nightly  # in an environment of its own: see `make models`

LIBRARIES = {
    "temporalio.openai_agents": "openai_agents_workflow",
    "temporalio.google_adk": "adk_workflow",
    "pydantic_ai.durable_exec.temporal": "pydantic_ai_workflow",
}
OF_PATCHES = {
    EventType.EVENT_TYPE_MARKER_RECORDED,
    EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
}
"""What the SDK's core writes in clear where a workflow asks for a patch, as Pydantic AI's do: the patch's id."""


@pytest.fixture(params=LIBRARIES)
def trial(request: pytest.FixtureRequest) -> Trial:
    pytest.importorskip(request.param)
    made: Trial = import_module(f"tests.support.{LIBRARIES[request.param]}").trial()
    return made


@pytest.mark.parametrize("order", ["before", "after"])
async def test_nothing_that_is_said_can_be_read(
    trial: Trial, order: str, temporal_server: TemporalServer, plain: Client, name: str, kms: FakeKms
) -> None:
    broken = f"{name} broken"
    with EnvelopePlugin(kms, startup_jitter=0, require_encryption=True) as ours:
        plugins: list[Any] = [trial.plugin, ours] if order == "before" else [ours, trial.plugin]
        client = await Client.connect(temporal_server.address, plugins=plugins)
        ours.verify(client)
        async with Worker(client, task_queue=name, workflows=[trial.workflow], activities=[capital]):
            run = client.execute_workflow(trial.workflow.run, QUESTION, id=name, task_queue=name)
            assert await asyncio.wait_for(run, 100) == ANSWER
            with pytest.raises(WorkflowFailureError) as failed:
                await client.execute_workflow(trial.workflow.run, FATAL, id=broken, task_queue=name)
        for workflow in (name, broken):
            history = await client.get_workflow_handle(workflow).fetch_history()
            await Replayer(workflows=[trial.workflow], plugins=plugins).replay_workflow(history)

    why = failed.value.cause
    assert BROKEN in f"{why} {why.__cause__}", "who has the keys reads it"
    assert any(QUESTION in given for given in trial.asked)
    assert any(FACT in given for given in trial.asked)
    for workflow in (name, broken):
        stored = await events(plain, workflow)
        assert _found_in(stored) == set()
        assert all(map(is_envelope, _payloads_of_users(stored)))


async def test_search_finds_what_is_said_where_our_plugin_is_missing(
    trial: Trial, temporal_server: TemporalServer, plain: Client, name: str
) -> None:
    """Guards the test above: what it searches is where the words would be."""
    client = await Client.connect(temporal_server.address, plugins=[trial.plugin])
    async with Worker(client, task_queue=name, workflows=[trial.workflow], activities=[capital]):
        run = client.execute_workflow(trial.workflow.run, QUESTION, id=name, task_queue=name)
        assert await asyncio.wait_for(run, 100) == ANSWER
    assert _found_in(await events(plain, name)) == {NEEDLE}


async def test_converter_of_a_later_plugin_is_refused_beside_these_too(
    trial: Trial, temporal_server: TemporalServer, kms: FakeKms
) -> None:
    theirs = SimplePlugin("theirs", data_converter=DataConverter.default)
    with (
        EnvelopePlugin(kms, startup_jitter=0) as ours,
        pytest.raises(ConfigurationError, match=r"does not encrypt.*last in the list"),
    ):
        await Client.connect(temporal_server.address, plugins=[trial.plugin, ours, theirs])


def _found_in(stored: Iterable[HistoryEvent]) -> set[str]:
    needles = Needles([NEEDLE])
    return set().union(*(needles.find_in(event.SerializeToString()) for event in stored))


def _payloads_of_users(stored: Iterable[HistoryEvent]) -> list[Payload]:
    found = [payload for event in stored if event.event_type not in OF_PATCHES for payload in payloads_in(event)]
    assert len(found) > 2
    return found
