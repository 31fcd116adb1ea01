"""The promises about cost, their bars, and whether a run held them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.side_by_side.tables import NONE, figure, table

Results = Mapping[str, Mapping[str, Any]]
"""What each section's program wrote, by the section's name."""

_KIB, _OURS, _CACHING = 1 << 10, "this library", "AWS Encryption SDK, caching"


@dataclass(frozen=True)
class Target:
    """One promise.

    Attributes:
        promise: what is measured, against what.
        bar: the limit.
        measure: finds the figure in the results; `LookupError` if this run has none.
        at_least: whether the bar is the least that is wanted, not the most.
    """

    promise: str
    bar: float
    measure: Callable[[Results], float]
    at_least: bool = False

    def cells(self, results: Results) -> list[str]:
        """Return the row of the table."""
        bar = f"{'≥' if self.at_least else '≤'} {self.bar:g}"
        try:
            measured = self.measure(results)
        except LookupError:
            return [self.promise, bar, NONE, "not measured"]
        return [self.promise, bar, _exact(measured), "held" if self.holds(measured) else "**missed**"]

    def holds(self, measured: float) -> bool:
        """Whether the bar is held, to as many digits as the table shows."""
        shown = float(_exact(measured))
        return shown >= self.bar if self.at_least else shown <= self.bar


def render(results: Results) -> str:
    """Return the table of all promises."""
    return table(["promise", "bar", "this run", ""], [target.cells(results) for target in targets()])


def targets() -> Iterator[Target]:
    """All promises, in the order of the table."""
    cpu = "a worker's processor time for a workflow, against the SDK's default without encryption"
    for size, name, bar in _sizes((1.03, 1.04, 0.85, 0.80)):
        yield Target(f"{cpu}: {name}", bar, _worker(size, "sealed", "cpu"))
    yield Target(
        "a worker's instructions for a workflow of 1 KiB, against a codec that does nothing", 1.03, _instructions
    )
    static = "processor time against a static key"
    for name, bars in (("1 KiB", (2.6, 4.2)), ("64 KiB", (1.3, 1.3)), ("1 MiB", (1.05, 1.05))):
        for operation, bar in zip(("encode", "decode"), bars, strict=True):
            yield Target(f"{static}: {operation} {name}", bar, _time(_OURS, name, operation, "of_static"))
    for name, least in (("1 KiB", (12, 11)), ("1 MiB", (4.4, 11))):
        for operation, bar in zip(("encode", "decode"), least, strict=True):
            promise = f"time of AWS Encryption SDK, caching, with commitment, against this library: {operation} {name}"
            yield Target(promise, bar, _time(_CACHING, name, operation, "of_ours"), at_least=True)
    for size, name, bar in ((10 * _KIB, "10 KiB", 1.25), (100 * _KIB, "100 KiB", 1.05)):
        promise = f"bytes on the wire with `compression`, against the SDK's default without encryption: {name}"
        yield Target(promise, bar, _worker(size, "zstd", "wire"))
    stored = "bytes stored in Temporal with `compression`, against the SDK's default without encryption: 100 KiB"
    yield Target(stored, 0.25, _worker(100 * _KIB, "zstd", "history_bytes"))
    yield Target("KMS calls of a cold replay, 2,000 events of four writers", 4, _replay("calls", max))
    yield Target(
        "time of a cold replay against a warm one, 2,000 events of four writers, KMS of 20 ms",
        1.05,
        _replay("ratio", max),
    )
    for operation in ("encode", "decode"):
        yield Target(f"peak memory of {operation}, in copies of a payload of 20 MB", 3, _memory(operation))


def _sizes(bars: tuple[float, ...]) -> Iterator[tuple[int, str, float]]:
    names = ("1 KiB", "10 KiB", "100 KiB", "1 MiB")
    yield from zip((_KIB, 10 * _KIB, 100 * _KIB, _KIB * _KIB), names, bars, strict=True)


def _only(results: Results, section: str, **wanted: Any) -> Mapping[str, Any]:
    for row in results[section]["rows"]:
        if wanted.items() <= row.items():
            found: Mapping[str, Any] = row
            return found
    raise LookupError(f"{section}: no row with {wanted}")


def _worker(size: int, variant: str, field: str) -> Callable[[Results], float]:
    return lambda results: float(_only(results, "worker", size=size, variant=variant)[field]["median"])


def _instructions(results: Results) -> float:
    counted = {row["variant"]: row["instructions"] for row in results["worker-instructions"]["instructions"]}
    return float(counted["sealed"] / counted["idle"])


def _time(entrant: str, size: str, operation: str, field: str) -> Callable[[Results], float]:
    return lambda results: float(_only(results, "peers-time", entrant=entrant, size=size, operation=operation)[field])


def _replay(field: str, choose: Callable[[list[float]], float]) -> Callable[[Results], float]:
    def measure(results: Results) -> float:
        rows = results["replay"]["rows"]
        found = [float(row[field]) for row in rows if abs(row["events"] - 2_000) <= 20]  # whole workflow tasks
        if not found:
            raise LookupError("no replay of 2,000 events")
        return choose(found)

    return measure


def _memory(operation: str) -> Callable[[Results], float]:
    return lambda results: float(_only(results, "peers-memory", entrant=_OURS)[operation])


def _exact(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 100 else figure(value).replace(",", "")
