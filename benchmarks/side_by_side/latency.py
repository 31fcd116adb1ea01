"""Wall-clock time where the KMS takes its time: the first seal and open, and those after them."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from benchmarks.side_by_side.documents import BATCH, make_payloads
from benchmarks.side_by_side.entrant import Entrant, close
from benchmarks.side_by_side.kms import InProcessKms
from benchmarks.side_by_side.spread import Spread

LATENCIES = (0, 5, 20)  # milliseconds
PHASES = ("first encode", "first decode", "encode", "decode", "batch encode", "batch decode")


async def measure(entrants: list[Entrant], *, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each entrant and latency: milliseconds a call, of each phase, for payloads of 1 KiB."""
    kms = {entrant.name: InProcessKms() for entrant in entrants}
    makers = {entrant.name: entrant.prepare(kms[entrant.name]) for entrant in entrants}
    rows: list[dict[str, Any]] = []
    for milliseconds in LATENCIES:
        taken: dict[str, dict[str, list[float]]] = {name: {phase: [] for phase in PHASES} for name in kms}
        for number in range(rounds):
            shift = number % len(entrants)
            for entrant in entrants[shift:] + entrants[:shift]:
                kms[entrant.name].latency = milliseconds / 1_000
                await _round(makers[entrant.name], taken[entrant.name], seed=number)
        for name, phases in taken.items():
            row: dict[str, Any] = {"entrant": name, "latency_ms": milliseconds}
            for phase, values in phases.items():
                row.update(Spread.of([value * 1_000 for value in values]).fields(phase))
            rows.append(row)
        print(f"latency: {milliseconds} ms done", flush=True)
    return rows


async def _round(new: Any, taken: dict[str, list[float]], seed: int) -> None:
    """Measure each phase once, with a writer and a reader that have no keys yet."""
    writer, reader = new(), new()
    first, second, *batch = make_payloads(1 << 10, BATCH + 2, seed)
    sealed = {}
    for phase, payloads in (("first ", [first]), ("", [second]), ("batch ", batch)):
        begun = perf_counter()
        sealed[phase] = await writer.encode(payloads)
        taken[f"{phase}encode"].append(perf_counter() - begun)
    for phase, payloads in sealed.items():
        begun = perf_counter()
        await reader.decode(payloads)
        taken[f"{phase}decode"].append(perf_counter() - begun)
    close(writer)
    close(reader)
