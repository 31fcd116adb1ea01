"""Refused records: what 100 a second cost honest decodes in the same event loop, with 50,000 keys cached.

Measured is this process's processor time for an honest decode, the best round of each, since others may take the
machine from it: what it takes longer than in quiet is lost. The bars are the promise, or half as much again as the
machine itself costs in the same run, where that is more.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from temporalio.api.common.v1 import Payload

from benchmarks.hostile_figure import Figure
from envelope_codec import EnvelopeCodec, EnvelopeConfig
from envelope_codec.envelope import NAME_DATA_KEY, Purpose, Recipient, Record, build_record, parse, record_head
from envelope_codec.errors import EnvelopeError
from envelope_codec.keys.opening_key import OpeningKey
from envelope_codec.testing import FakeKms

CACHED, REFUSED_A_SECOND = 50_000, 100
ROUNDS, SECONDS = 40, 0.3
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


async def attack(codec: EnvelopeCodec, payload: Payload) -> None:
    """Decode a hostile payload."""
    with suppress(EnvelopeError):
        await codec.decode([payload])
        raise AssertionError("a hostile record was opened")


async def bare_call() -> None:
    """What any call of a KMS costs at least: a thread that waits for it."""
    await asyncio.get_running_loop().run_in_executor(None, time.sleep, LATENCY)


async def at_rate(works: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    """Begin these at the hostile rate, and wait for all."""
    begun, tasks = time.perf_counter(), []
    for number, work in enumerate(works):
        await asyncio.sleep(max(0.0, begun + number / REFUSED_A_SECOND - time.perf_counter()))
        tasks.append(asyncio.ensure_future(work()))
    await asyncio.gather(*tasks)


def fill(codec: EnvelopeCodec, record: Record) -> None:
    """Let the cache be as full as it may get, all under one live lease."""
    keys = codec.keyring._opening._keys
    entry = keys.get(record.id)
    assert entry is not None
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
    best = [math.inf] * 3
    quiet_gap, gap, before = 0.0, 0.0, kms.unwraps
    for turn in range(ROUNDS):  # in turns, so that a slower machine for a while slows all
        quiet, floor, busy = (Window(codec, sealed) for _ in range(3))
        await quiet.run(asyncio.ensure_future(asyncio.sleep(SECONDS)))
        await floor.run(asyncio.ensure_future(at_rate([bare_call] * count)))
        await busy.run(asyncio.ensure_future(at_rate([partial(attack, codec, payload) for payload in payloads[turn]])))
        best = [min(one, window.used / window.decodes) for one, window in zip(best, (quiet, floor, busy), strict=True)]
        quiet_gap, gap = max(quiet_gap, quiet.gap, floor.gap), max(gap, busy.gap)
    least, lost = (100 * (1 - best[0] / one) for one in best[1:])
    calls = kms.unwraps - before
    codec.close()
    gc.unfreeze()
    logging.disable(logging.NOTSET)
    return [
        Figure(
            f"honest decodes lost to {REFUSED_A_SECOND} refused records a second", lost, " %", max(5.0, 1.5 * least)
        ),
        Figure("lost to as many calls of a bare thread", least, " %"),
        Figure("longest gap of the event loop, attacked", gap * 1e3, " ms", max(20.0, 1.5e3 * quiet_gap)),
        Figure("longest gap of the event loop, in between", quiet_gap * 1e3, " ms"),
        Figure("KMS calls for each refused record", calls / sum(map(len, payloads)), "", 1.05),
    ]
