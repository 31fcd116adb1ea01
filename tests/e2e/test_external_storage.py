"""External storage: what the user's driver is given is sealed already, and Temporal has a reference to it in clear."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.worker import Replayer, Worker

from envelope_codec.cli.demo.search import Needles
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.temporal.payload_walk import payloads_in
from envelope_codec.temporal.system_payloads import describe_clear_payload
from envelope_codec.testing import FakeKms
from tests.support.context_header import ContextHeader
from tests.support.long_lived_workflows import Conversation, Errand, Errands
from tests.support.memory_storage_driver import MemoryDriver, storage
from tests.support.server_records import events

LARGE = 1_000_000  # bytes


@pytest.mark.parametrize(("threshold", "outside"), [(0, "all"), (900, "some"), (LARGE, "none")])
async def test_what_is_stored_outside_is_ciphertext(
    threshold: int, outside: str, connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    shelf, errand = MemoryDriver(), Errand()
    converter = replace(DataConverter.default, external_storage=storage(shelf, threshold))
    header = "marigold-" + "header " * 100
    client, plugin = await connect(
        kms, data_converter=converter, interceptors=[ContextHeader(header)], require_encryption=True
    )
    conversation = Conversation(f"{name} marigold", name)
    async with Worker(
        client,
        task_queue=name,
        workflows=[Errands],
        activities=[errand.carry, errand.refuse],
        max_cached_workflows=0,
    ):
        await conversation.begin(client, header)
        await conversation.talk(client, client)
        await conversation.end(client, client)

    history = await events(plain, conversation.workflow_id)
    payloads = [payload for event in history for payload in payloads_in(event)]
    inline = [payload for payload in payloads if is_envelope(payload)]
    references = [payload for payload in payloads if describe_clear_payload(payload) == "reference to external storage"]
    assert len(inline) + len(references) == len(payloads)
    assert (bool(inline), bool(references)) == {"all": (False, True), "some": (True, True), "none": (True, False)}[
        outside
    ]

    assert bool(shelf.stored) == (outside != "none")
    assert all(map(is_envelope, shelf.stored))
    needle = Needles(["marigold-"])
    assert all(needle.find_in(payload.SerializeToString()) == set() for payload in [*payloads, *shelf.stored])
    assert EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED not in {event.event_type for event in history}

    replayer = Replayer(
        workflows=[Errands], data_converter=converter, interceptors=[ContextHeader(header)], plugins=[plugin]
    )
    await replayer.replay_workflow(await plain.get_workflow_handle(conversation.workflow_id).fetch_history())
