"""Refused records: what 100 a second cost honest decodes in the same event loop, with 50,000 keys cached.

What a refused record costs is measured in this process's processor time, since others may take the machine from it: so
much of one core's second is lost to honest decodes, which share the core.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import statistics
import time

from temporalio.api.common.v1 import Payload

from benchmarks.hostile_figure import Figure
from envelope_codec import EnvelopeCodec, EnvelopeConfig
from envelope_codec.envelope import NAME_DATA_KEY, Purpose, Recipient, Record, build_record, parse, record_head
from envelope_codec.errors import EnvelopeError
from envelope_codec.keycache import OpeningKey
from envelope_codec.testing import FakeKms

CACHED, REFUSED_A_SECOND = 50_000, 100
ROUNDS, SECONDS = 12, 1.0
LATENCY = 0.02
AT_ONCE = 25  # decodes until others get a turn, about a millisecond


def hostile(number: int, key_id: str) -> Payload:
    """An envelope whose record the KMS refuses: of a key version that it has not."""
    head = record_head(Purpose.WRAPPING_KEY, number, {"temporal-namespace": "default"})
    record = build_record(head, os.urandom(32), [Recipient(key_id, "99", bytes(60))])
    return Payload(metadata={**record.metadata, NAME_DATA_KEY: os.urandom(40)}, data=os.urandom(60))


class Window:
    """Honest decodes, one after another, for some time.

    Attributes:
        decodes: how many.
        used: processor time of this process meanwhile, in seconds.
        gap: the longest time in seconds for which the event loop did nothing else.
    """

    def __init__(self, codec: EnvelopeCodec, sealed: list[Payload]) -> None:
        self._codec = codec
        self._sealed = sealed
        self.decodes = 0
        self.used = self.gap = 0.0

    async def run(self, attacking: asyncio.Future[None]) -> None:
        used, last = time.process_time(), time.perf_counter()
        while not attacking.done():
            for _ in range(AT_ONCE):
                await self._codec.decode(self._sealed)
            self.decodes += AT_ONCE
            await asyncio.sleep(0)
            now = time.perf_counter()
            self.gap, last = max(self.gap, now - last), now
        self.used = time.process_time() - used


async def attack(codec: EnvelopeCodec, payloads: list[Payload]) -> None:
    """Decode these at the hostile rate."""

    async def one(payload: Payload) -> None:
        try:
            await codec.decode([payload])
        except EnvelopeError:
            return
        raise AssertionError("a hostile record was opened")

    begun, tasks = time.perf_counter(), []
    for number, payload in enumerate(payloads):
        await asyncio.sleep(max(0.0, begun + number / REFUSED_A_SECOND - time.perf_counter()))
        tasks.append(asyncio.ensure_future(one(payload)))
    await asyncio.gather(*tasks)


def fill(codec: EnvelopeCodec, record: Record) -> None:
    """Let the cache be as full as it may get, all under one live lease."""
    keys = codec.keyring._opening._keys
    entry = keys[record.id]
    while len(keys) < CACHED:
        keys[os.urandom(32)] = OpeningKey(record, entry.key, entry.leases, entry.expires)


async def figures() -> list[Figure]:
    """The share of honest decodes that is lost, and the longest gap."""
    logging.disable(logging.CRITICAL)  # what a log costs is for its handlers to say
    kms = FakeKms()
    codec = EnvelopeCodec(EnvelopeConfig(key=kms, lease="1h"))
    sealed = await codec.encode([Payload(metadata={"encoding": b"json/plain"}, data=os.urandom(1_024))])
    await codec.decode(sealed)
    envelope = parse(sealed[0].metadata, sealed[0].data)
    assert envelope is not None
    fill(codec, envelope.record)
    kms.before_call = lambda operation: time.sleep(LATENCY)
    count = round(REFUSED_A_SECOND * SECONDS)
    payloads = [[hostile(number * ROUNDS + turn, kms.key_id) for number in range(count)] for turn in range(ROUNDS)]
    gc.collect()
    gc.freeze()
    costs, quiet_gap, gap, before = [], 0.0, 0.0, kms.unwraps
    for turn in range(ROUNDS):  # in turns, so that a slower machine for a while slows both
        quiet, busy = Window(codec, sealed), Window(codec, sealed)
        await quiet.run(asyncio.ensure_future(asyncio.sleep(SECONDS)))
        await busy.run(asyncio.ensure_future(attack(codec, payloads[turn])))
        costs.append((busy.used - busy.decodes * quiet.used / quiet.decodes) / count)
        quiet_gap, gap = max(quiet_gap, quiet.gap), max(gap, busy.gap)
    cost = statistics.median(costs)
    calls = kms.unwraps - before
    codec.close()
    gc.unfreeze()
    logging.disable(logging.NOTSET)
    return [
        Figure(
            f"honest decodes lost to {REFUSED_A_SECOND} refused records a second",
            100 * REFUSED_A_SECOND * cost,
            " %",
            5.0,
            f"{cost * 1e6:.0f} µs each, median of {ROUNDS} rounds, {min(costs) * 1e6:.0f} to {max(costs) * 1e6:.0f}",
        ),
        Figure("longest gap of the event loop, attacked", gap * 1e3, " ms", max(20.0, 1.5e3 * quiet_gap)),
        Figure("longest gap of the event loop, in between", quiet_gap * 1e3, " ms"),
        Figure("KMS calls for each refused record", calls / sum(map(len, payloads)), "", 1.05),
    ]
