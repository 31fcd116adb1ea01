"""Replay of a history that four processes have sealed: with no key at hand, and with all of them.

The SDK's Replayer replays histories of 2,000 and 10,000 events. In one kind each activity waits for the one before, so
that every activation holds one result; in the other, 50 results come at a time. A KMS takes 20 ms for each call. In
rounds by turns a plugin that has no key replays the history (cold), and again with all keys at hand (warm). Prints
seconds of wall-clock time, medians of the rounds; the median of the rounds' ratios; and of a cold replay the KMS calls
and the milliseconds in which at least one of them was under way, which is what they can add to its time.
Run: ``python benchmarks/replay.py [--rounds N] [--events N …] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import threading
import time
from pathlib import Path
from typing import NamedTuple

from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from benchmarks.replay_history import Replayed, make_history
from envelope_codec import EnvelopePlugin
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms

CALL = 0.02  # seconds
WRITERS = 4
EVENTS = [2_000, 10_000]
ROUNDS = 9
SHAPES = {"one at a time": 1, "50 at a time": 50}
RESULT = Payload(metadata={"encoding": b"json/plain"}, data=b'"' + b"x" * 1_000 + b'"')


class SlowKms(FakeKms):
    """A KMS that takes its time.

    Attributes:
        call: seconds for each call.
        busy: seconds in which at least one call was under way.
    """

    def __init__(self) -> None:
        super().__init__()
        self.call = 0.0
        self.busy = 0.0
        self.before_call = self._take_time
        self._under_way = 0
        self._begun = 0.0
        self._counting = threading.Lock()

    def _take_time(self, operation: str) -> None:
        with self._counting:
            if not self._under_way:
                self._begun = time.perf_counter()
            self._under_way += 1
        time.sleep(self.call)
        with self._counting:
            self._under_way -= 1
            if not self._under_way:
                self.busy += time.perf_counter() - self._begun


class Measured(NamedTuple):
    """A cold replay and a warm one. See `Row`."""

    cold: float
    warm: float
    calls: int
    busy: float


class Row(NamedTuple):
    """One history. Times in seconds.

    Attributes:
        events: how many.
        shape: how its results come.
        cold: without a key at hand.
        warm: with all keys at hand.
        ratio: of cold to warm.
        calls: of the KMS in a cold replay.
        busy: time of a cold replay in which at least one of them was under way.
    """

    events: int
    shape: str
    cold: float
    warm: float
    ratio: float
    calls: int
    busy: float

    def __str__(self) -> str:
        times = f"{self.cold:8.3f} {self.warm:8.3f} {self.ratio:6.3f}"
        return f"{self.events:7,} {self.shape:14} {times} {self.calls:6} {self.busy * 1e3:8.1f}"


async def measure(kms: SlowKms, history: WorkflowHistory) -> Measured:
    """Replay ``history`` without a key, and again with all of them."""
    unwraps, busy = kms.unwraps, kms.busy
    with EnvelopePlugin(kms) as plugin:
        replayer = Replayer(workflows=[Replayed], plugins=[plugin])
        cold = await replay(replayer, history)
        calls, busy = kms.unwraps - unwraps, kms.busy - busy
        warm = await replay(replayer, history)
    return Measured(cold, warm, calls, busy)


async def replay(replayer: Replayer, history: WorkflowHistory) -> float:
    """Replay ``history``: return the seconds that it takes."""
    begun = time.perf_counter()
    await replayer.replay_workflow(history)
    return time.perf_counter() - begun


async def compare(events: int, shape: str, rounds: int) -> Row:
    """Measure one history."""
    kms = SlowKms()
    writers = [EnvelopeCodec(kms) for _ in range(WRITERS)]
    history = await make_history(events, SHAPES[shape], writers, RESULT)
    for writer in writers:
        writer.close()
    kms.call = CALL
    await measure(kms, history)
    measured = [await measure(kms, history) for _ in range(rounds)]
    cold, warm = (statistics.median(times) for times in zip(*(each[:2] for each in measured), strict=True))
    ratio = statistics.median(each.cold / each.warm for each in measured)
    busy = statistics.median(each.busy for each in measured)
    return Row(len(history.events), shape, cold, warm, ratio, max(each.calls for each in measured), busy)


def write_json(path: Path, rows: list[Row]) -> None:
    """Write the rows."""
    path.write_text(json.dumps({"name": "replay", "rows": [row._asdict() for row in rows]}, indent=2) + "\n")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds to take the medians of")
    parser.add_argument("--events", type=int, nargs="+", default=EVENTS, help="lengths of the histories")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    rows: list[Row] = []
    print(" events results come   cold s   warm s  ratio  calls  KMS ms")
    for events in arguments.events:
        for shape in SHAPES:
            rows.append(await compare(events, shape, arguments.rounds))
            print(rows[-1], flush=True)
    if arguments.json:
        write_json(arguments.json, rows)


if __name__ == "__main__":
    asyncio.run(main())
