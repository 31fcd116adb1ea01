"""Null memo fields: with the plugin the server makes of them what it makes of them without."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    ScheduleUpdate,
)
from temporalio.converter import DataConverter
from temporalio.worker import Worker

from envelope_codec.temporal.codec import is_envelope
from envelope_codec.temporal.payload_walk import payloads_in
from envelope_codec.testing import FakeKms
from tests.support.memo_workflows import KEPT, NULLS, Remembers
from tests.support.memory_storage_driver import MemoryDriver, storage
from tests.support.server_records import events, eventually, result_of


async def _remembered(client: Client, name: str, *, schedules: bool) -> dict[str, Any]:
    """What workflows and clients see of memos, by how they were given."""
    told: dict[str, Any] = {}
    async with Worker(client, task_queue=name, workflows=[Remembers]):
        for step in ("all", "forget all", "forget some", "inherit"):
            handle = await client.start_workflow(
                Remembers.run, step, id=f"{name}-{step}", task_queue=name, memo=NULLS | KEPT
            )
            told[step] = await result_of(handle)
            told[f"{step}, described"] = await (await client.get_workflow_handle(handle.id).describe()).memo()
        signalled = await client.start_workflow(
            Remembers.run, "tell", id=f"{name}-signal", task_queue=name, memo=NULLS | KEPT, start_signal="unheard"
        )
        told["signalled"] = await result_of(signalled)
        if schedules:
            told |= await _scheduled(client, name)
    return told


async def _scheduled(client: Client, name: str) -> dict[str, Any]:
    told: dict[str, Any] = {}
    action = ScheduleActionStartWorkflow(
        Remembers.run, "tell", id=f"{name}-scheduled", task_queue=name, memo=NULLS | KEPT
    )
    schedule = Schedule(action=action, spec=ScheduleSpec())
    handle = await client.create_schedule(name, schedule, memo=NULLS | KEPT)
    told["schedule"] = await (await handle.describe()).memo()
    await handle.update(lambda given: ScheduleUpdate(schedule=schedule))
    await handle.trigger()

    async def ran() -> list[str]:
        return [one.id async for one in client.list_workflows() if one.id.startswith(f"{name}-scheduled")]

    [run] = await eventually(ran, "the schedule's run")
    told["scheduled"] = await result_of(client.get_workflow_handle_for(Remembers.run, run))
    await handle.delete()
    return told


@pytest.mark.parametrize("converter", ["plain", "storing everything"])
async def test_null_memo_fields_are_dropped_as_without_us(
    converter: str, connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    base = DataConverter(external_storage=storage(MemoryDriver(), 0)) if converter != "plain" else DataConverter.default
    client, _ = await connect(kms, data_converter=base, require_encryption=True)
    # The server's scheduler, in Go, can't read what the SDK has stored elsewhere, with us and without.
    schedules = converter == "plain"
    without = await _remembered(plain, f"{name}-without", schedules=schedules)
    assert without["all"] == [KEPT, KEPT]
    assert without["all, described"] == {"value": "x", "new": "n"}
    assert without["forget all, described"] == {}
    sealed = f"{name}-with"
    assert await _remembered(client, sealed, schedules=schedules) == without
    told = await events(plain, f"{sealed}-all")
    in_clear = [payload for event in told for payload in payloads_in(event) if not is_envelope(payload)]
    if converter == "plain":
        assert sorted(payload.data for payload in in_clear) == [b"", b"", b"[]"], "what is removed, and nothing else"
