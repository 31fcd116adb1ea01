"""A store in memory with faults to inject, and a driver for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from envelope_codec import (
    EnvelopeConfig,
    PayloadMissing,
)
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.storage.pool import Pool
from envelope_codec.store import PayloadStore, Stored, StoreUrl
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"a text of some length"')
ANYWHERE = StorageDriverStoreContext()
READING = StorageDriverRetrieveContext()


class Memory:
    """A `PayloadStore` with faults to inject."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.failures: list[Exception] = []
        self.calls = 0
        self.closed = 0
        self.under_way = self.most = 0
        self.silent = 0  # calls that get no answer
        self.seconds = 0.0  # for one

    async def _call(self) -> None:
        self.calls += 1
        if self.silent:
            self.silent -= 1
            await asyncio.Event().wait()
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(self.seconds)
        self.under_way -= 1
        if self.failures:
            raise self.failures.pop(0)

    async def put(self, id: str, data: bytes) -> None:
        await self._call()
        self.kept[id] = data

    async def get(self, id: str) -> bytes:
        await self._call()
        try:
            return self.kept[id]
        except KeyError:
            raise PayloadMissing("the datastore has no such payload") from None

    async def delete(self, id: str) -> None:
        self.kept.pop(id, None)

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        for id, data in self.kept.items():
            yield Stored(id, 0.0, len(data))

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        self.closed += 1


class MemoryUrl(StoreUrl):
    """Opens one `Memory`, whatever it is asked."""

    memory: Memory

    def open(self) -> PayloadStore:
        return self.memory


def driver_of(memory: Memory, **settings: Any) -> EnvelopeDriver:
    url = MemoryUrl("mine", "memory://")
    url.memory = memory
    return EnvelopeDriver(Pool(url), EnvelopeCodec(EnvelopeConfig(key=FakeKms(), **settings)))


async def sealed(driver: EnvelopeDriver, count: int = 1) -> list[Payload]:
    return await driver.codec.encode([PLAIN] * count)
