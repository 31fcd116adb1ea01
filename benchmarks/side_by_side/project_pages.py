"""What the page says about workers, replays, compression and storage: of programs that measure this library alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.side_by_side.tables import cell, figure, generic, prose, table

Result = Mapping[str, Any]

_FIELDS = {
    "cpu": "worker's CPU",
    "server_cpu": "server's CPU",
    "wire": "bytes on the wire",
    "history_bytes": "bytes stored",
    "history_rows": "rows stored",
    "rate": "workflows a second",
}

_WORKER = """
A real worker on a real dev server runs workflows of five activities; each gets and returns another order, as JSON.
Every figure is a multiple of the SDK's default without encryption, which gzips each gRPC message: the median over the
rounds, with the lowest and the highest.
"""
_WORKER_SAYS = """
Where it costs more: ciphertext does not compress. So without compression before sealing, more bytes travel than the
SDK's gzip would have left, and more are stored than plain ones by the overhead of an envelope. What is saved by leaving
out gzip, which would find nothing, pays for the encryption of large payloads.
"""
_INSTRUCTIONS = """
Instructions of the worker's process for a workflow of five activities at 1 KiB, counted by valgrind: unlike times, they
are the same on a busy machine. The promise above compares *sealed* with *idle*, which is a codec that does nothing but
has a `with_context`, as a codec has that wants to know its context.
"""
_REPLAY = """
A history that four processes have sealed is replayed with no key at hand (cold), and again with all keys (warm), while
each KMS call takes 20 ms. A cold replay calls the KMS once for each process that wrote, however long the history.
"""


def worker(result: Result) -> str:
    """What a real worker pays, as multiples of the SDK's default without encryption."""
    variants = [[name, text] for name, text in result["variants"].items()]
    lines = [
        [_size(row["size"]), row["variant"], *(_ratio(row.get(field)) for field in _FIELDS)]
        for row in result["rows"]
        if row["variant"] != "plain"  # which is 1 by its nature
    ]
    parts = [
        prose(_WORKER),
        table(["variant", "is"], variants, numbers=False),
        "![A worker's processor time for a workflow](benchmarks-worker.svg)",
        table(["size", "variant", *_FIELDS.values()], lines),
        prose(_WORKER_SAYS),
    ]
    if result.get("messages"):
        parts += ["**gRPC's own compression**, of single messages with sealed payloads", generic(result["messages"])]
    return "\n\n".join(parts)


def instructions(result: Result) -> str:
    """Instructions that a worker takes, which repeat on a busy machine."""
    lines = [
        [row["variant"], f"{row['instructions'] / 1e6:.1f} M", figure(row["ratio"])] for row in result["instructions"]
    ]
    return f"{prose(_INSTRUCTIONS)}\n\n{table(['variant', 'instructions', 'of plain'], lines)}"


def replay(result: Result) -> str:
    """A replay without a key at hand beside one with all."""
    lines = [
        [
            f"{row['events']:,}",
            str(row["shape"]),
            f"{figure(row['cold'])} s",
            f"{figure(row['warm'])} s",
            f"{row['ratio']:.2f}",
            str(row["calls"]),
        ]
        for row in result["rows"]
    ]
    head = ["events", "results come", "cold", "warm", "ratio", "KMS calls"]
    return f"{prose(_REPLAY)}\n\n{table(head, lines)}"


def plain(text: str) -> Callable[[Result], str]:
    """Return what shows a program's rows as they are, below ``text``."""
    return lambda result: f"{prose(text)}\n\n{generic(result['rows'])}"


def _ratio(value: Any) -> str:
    return cell(value) if value is not None else "–"


def _size(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
