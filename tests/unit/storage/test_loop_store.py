"""The calls of one event loop at a store: so many at once, and none that waits for ever."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest

from envelope_codec import (
    EnvelopeConfig,
    StoreUnavailable,
)
from envelope_codec.keys.stop import Stop, stopping
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.storage.pool import Pool
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms
from tests.support.memory_store import ANYWHERE, Memory, MemoryUrl, driver_of, sealed


class Hanging(NamedTuple):
    """A store all of whose slots are taken by calls without an answer."""

    memory: Memory
    driver: EnvelopeDriver
    calls: asyncio.Task[Any]

    async def assert_all_slots_come_back(self) -> None:
        self.calls.cancel()
        await asyncio.wait([self.calls])
        self.memory.silent = self.memory.under_way = self.memory.most = 0
        self.memory.seconds = 0.01
        await self.driver.store(ANYWHERE, await sealed(self.driver, 100))
        assert self.memory.most == 32


@pytest.fixture
async def hanging(monkeypatch: pytest.MonkeyPatch) -> Hanging:
    monkeypatch.setattr("envelope_codec.storage.driver._CALL_SECONDS", 1_000.0)
    memory = Memory()
    memory.silent = 32
    driver = driver_of(memory)
    calls = asyncio.ensure_future(driver.store(ANYWHERE, await sealed(driver, 32)))
    while memory.silent:  # noqa: ASYNC110 - the memory is no event
        await asyncio.sleep(0)
    return Hanging(memory, driver, calls)


async def test_waiting_for_a_slot_counts_towards_the_deadline(hanging: Hanging) -> None:
    config = EnvelopeConfig(key=FakeKms(), timeout=0.1)
    impatient = EnvelopeDriver(hanging.driver.pool, EnvelopeCodec(config))
    with pytest.raises(StoreUnavailable, match="did not answer"):
        await asyncio.wait_for(impatient.store(ANYWHERE, await sealed(impatient)), 60)
    assert hanging.memory.calls == 32
    await hanging.assert_all_slots_come_back()


async def test_a_workers_shutdown_ends_waiting_for_a_slot(hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envelope_codec.storage.retry._AT_SHUTDOWN", 0.0)
    stop = Stop()
    token = stopping.set(stop)
    patient = EnvelopeDriver(hanging.driver.pool, EnvelopeCodec(EnvelopeConfig(key=FakeKms(), timeout=1_000)))
    task = asyncio.ensure_future(patient.store(ANYWHERE, await sealed(patient)))
    await asyncio.sleep(0.01)
    stopping.reset(token)
    assert not task.done()
    stop.set()
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(task, 60)
    await hanging.assert_all_slots_come_back()


async def test_who_is_cancelled_while_waiting_for_a_slot_takes_none(hanging: Hanging) -> None:
    waiting = [asyncio.ensure_future(hanging.driver.store(ANYWHERE, [one])) for one in await sealed(hanging.driver, 50)]
    await asyncio.sleep(0.01)
    hanging.calls.cancel()
    for number, task in enumerate(waiting):  # some before a slot is theirs, some at that moment, some after it
        task.cancel()
        if number % 5 == 0:
            await asyncio.sleep(0)
    await asyncio.wait(waiting)
    assert all(task.cancelled() or not task.exception() for task in waiting)
    await hanging.assert_all_slots_come_back()


def test_a_store_that_does_not_close_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envelope_codec.storage.loop_store._CLOSE_SECONDS", 0.01)

    class Hanging(Memory):
        async def close(self) -> None:
            await asyncio.Event().wait()

    url = MemoryUrl("mine", "memory://")
    url.memory = Hanging()

    async def use() -> None:
        Pool(url).open_here()

    asyncio.run(use())
