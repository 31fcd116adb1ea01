"""Processor time of encode and decode for each entrant, at a KMS without latency, in interleaved rounds."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from time import process_time
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from benchmarks.side_by_side.documents import BATCH, BATCH_NAME, SIZES, make_payloads
from benchmarks.side_by_side.entrant import Entrant, close
from benchmarks.side_by_side.kms import InProcessKms
from benchmarks.side_by_side.own import OURS, STATIC
from benchmarks.side_by_side.spread import Spread, quotients

_POOL_BYTES = 4 << 20  # of the payloads that a round may have, so that large ones do not fill the memory
OPERATIONS = ("encode", "decode")


@dataclass
class Runner:
    """One entrant with keys at hand: a codec that writes, and another that reads, as another worker would.

    Attributes:
        rounds: seconds a call, of each round.
    """

    entrant: Entrant
    writer: PayloadCodec
    reader: PayloadCodec
    rounds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in OPERATIONS})
    times: dict[str, int] = field(default_factory=dict)

    async def calibrate(self, payloads: list[list[Payload]], seconds: float) -> None:
        """Get the keys, and find out how many calls make up a round."""
        begun = process_time()
        sealed = await self.writer.encode(payloads[0])
        await self.reader.decode(sealed)
        for operation in OPERATIONS:
            begun = process_time()
            if operation == "encode":
                sealed = await self.writer.encode(payloads[0])
            else:
                opened = await self.reader.decode(sealed)
                if opened != payloads[0]:
                    raise AssertionError(f"{self.entrant.name} does not open what it sealed")
            self.times[operation] = max(1, min(len(payloads), int(seconds / max(1e-7, process_time() - begun))))

    async def round(self, payloads: list[list[Payload]]) -> None:
        """Measure once more. Each payload is opened once: whoever keeps opened data keys has no use of that."""
        fresh = [await self.writer.encode(group) for group in payloads[: self.times["decode"]]]
        begun = process_time()
        for group in fresh:
            await self.reader.decode(group)
        self.rounds["decode"].append((process_time() - begun) / len(fresh))
        groups = payloads[: self.times["encode"]]
        begun = process_time()
        for group in groups:
            await self.writer.encode(group)
        self.rounds["encode"].append((process_time() - begun) / len(groups))


async def measure(entrants: list[Entrant], *, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Return a row for each entrant, size and operation: microseconds a call, and ratios to the static key and to us.

    Args:
        entrants: who is measured; the static key is among them.
        rounds: of each.
        seconds: of a round of each operation.
    """
    rows: list[dict[str, Any]] = []
    for name, size in {**SIZES, BATCH_NAME: 0}.items():
        count = max(2, min(100, _POOL_BYTES // (size or BATCH << 10)))
        flat = make_payloads(size or 1 << 10, count * (1 if size else BATCH))
        step = 1 if size else BATCH
        payloads = [flat[start : start + step] for start in range(0, len(flat), step)]
        runners = [await _start(entrant, payloads, seconds) for entrant in entrants]
        gc.collect()
        gc.freeze()
        gc.disable()
        for number in range(rounds):
            shift = number % len(runners)
            for runner in runners[shift:] + runners[:shift]:
                await runner.round(payloads)
            gc.collect()
        gc.enable()
        gc.unfreeze()
        rows += _rows(name, runners)
        for runner in runners:
            close(runner.writer)
            close(runner.reader)
        print(f"processor time: {name} done", flush=True)
    return rows


async def _start(entrant: Entrant, payloads: list[list[Payload]], seconds: float) -> Runner:
    new = entrant.prepare(InProcessKms())
    runner = Runner(entrant, new(), new())
    await runner.calibrate(payloads, seconds)
    return runner


def _rows(size: str, runners: list[Runner]) -> list[dict[str, Any]]:
    by_name = {runner.entrant.name: runner for runner in runners}
    rows = []
    for operation in OPERATIONS:
        static = by_name[STATIC].rounds[operation]
        ours = by_name[OURS].rounds[operation]
        for runner in runners:
            mine = runner.rounds[operation]
            rows.append(
                {
                    "entrant": runner.entrant.name,
                    "size": size,
                    "operation": operation,
                    **Spread.of([value * 1e6 for value in mine]).fields("microseconds"),
                    **quotients(mine, static).fields("of_static"),
                    **quotients(mine, ours).fields("of_ours"),
                }
            )
    return rows
