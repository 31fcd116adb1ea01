"""What encryption costs a worker, the server, the wire and the store, as multiples of Temporal's SDK without it.

A real worker in a process of its own, for each variant, runs workflows of five activities on a real dev server. Each
activity gets and returns another order, as JSON. Variants take turns in rounds, so that a slower machine for a while
slows all of them. A row is the median over the rounds of the ratio to the reference in the same round, with the lowest
and the highest. The reference is the SDK's default without encryption, which gzips every gRPC message.

Run: ``python benchmarks/worker.py [--quick] [--sizes 1KiB,10KiB] [--rounds 5] [--variants plain,sealed,direct]``.
``--instructions`` counts the worker's instructions a workflow as well, at 1 KiB, with valgrind: the same on a busy
machine. ``--json FILE`` writes everything as

    {"name": "worker", "rounds": 5,
     "variants": {"sealed": "this library, as it is by default", …},
     "rows": [{"size": 1024, "variant": "sealed",
               "cpu": {"median": 1.04, "low": 1.02, "high": 1.07, "absolute": 0.021}, …}, …],
     "messages": [{"what": "fetch of a history of 2,000 events", "variant": "gzip", "bytes": 841728,
                   "milliseconds": {"median": 70.0, "low": 68.1, "high": 77.2},
                   "cpu_milliseconds": {"median": …, "low": …, "high": …}}, …],
     "instructions": [{"variant": "plain", "instructions": 72300000, "ratio": 1.0}, …]}

``size`` is in bytes. Each row has these, with the median of what was measured as ``absolute``, the ratios without a
unit: ``cpu``, seconds of the worker's processor time a workflow; ``server_cpu``, the server's; ``wire``, bytes between
worker and server a workflow; ``history_bytes`` and ``history_rows``, what the server's database has of a workflow's
history; ``rate``, workflows a second; ``memory``, bytes of the worker's resident memory at the peak.
``instructions`` is empty if they were not counted. ``messages`` compares gRPC's compression alone: sealed payloads,
with gzip and without, with the client's own time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, fields
from pathlib import Path
from statistics import median
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT / "localstack"), str(_ROOT)]

from devstack import TemporalServer  # noqa: E402 - found through the path above
from pydantic import TypeAdapter  # noqa: E402

from benchmarks.worker_documents import read_documents, write_documents  # noqa: E402
from benchmarks.worker_instructions import count_instructions  # noqa: E402
from benchmarks.worker_messages import measure_messages  # noqa: E402
from benchmarks.worker_turns import Turn, WorkerProcess, running  # noqa: E402
from benchmarks.worker_variants import DEFAULT, REFERENCE, VARIANTS, available, write_keys  # noqa: E402
from envelope_codec._grammar import Bytes  # noqa: E402

SIZES = (1 << 10, 10 << 10, 100 << 10, 1 << 20)
ROUNDS = 5
# The kernel counts the bytes of open connections. The server would end each after five minutes.
_SERVER = {"frontend.keepAliveMaxConnectionAge": '"24h"'}
_BYTES = 6 << 20  # of orders in a turn, about
_MOST = 32  # workflows in a turn

Turns = dict[tuple[int, str], list[Turn]]


async def measure(
    workers: dict[str, WorkerProcess], folder: Path, sizes: Sequence[int], rounds: int, quick: bool
) -> Turns:
    """Let the workers take turns, and return the turns of each size and variant, by round."""
    turns: Turns = {(size, variant): [] for size in sizes for variant in workers}
    variants = list(workers)
    for size in sizes:
        orders = read_documents(folder, size)
        for variant in variants:  # connections, caches, keys
            await workers[variant].run(orders, 2)
        count = max(2, min(_MOST, _BYTES // size // 3) // (4 if quick else 1))
        for number in range(rounds):
            first = number % len(variants)
            for variant in variants[first:] + variants[:first]:
                turns[size, variant].append(await workers[variant].turn(orders, count))
            print(f"{label(size)}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return turns


def rows(turns: Turns) -> list[dict[str, Any]]:
    """Return a row for each size and variant. See the module's text."""
    made = []
    for (size, variant), measured in turns.items():
        row: dict[str, Any] = {"size": size, "variant": variant}
        for field in fields(Turn):
            ours = [asdict(turn)[field.name] for turn in measured]
            theirs = [asdict(turn)[field.name] for turn in turns[size, REFERENCE]]
            # The server's clock ticks a hundred times a second: a short turn may have no tick.
            ratios = [one / other if other else 1.0 for one, other in zip(ours, theirs, strict=True)]
            row[field.name] = {**spread(ratios), "absolute": median(ours)}
        made.append(row)
    return made


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, lowest and highest."""
    return {"median": median(values), "low": min(values), "high": max(values)}


def label(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def print_rows(made: Sequence[dict[str, Any]]) -> None:
    """Print the ratios, and what was measured as well."""
    ratios = {"server_cpu": "server", "wire": "wire", "history_bytes": "stored", "history_rows": "rows"}
    ratios |= {"rate": "rate", "memory": "memory"}
    units = {"cpu": ("CPU ms", 1e-3), "server_cpu": ("server ms", 1e-3), "wire": ("wire KiB", 1024)}
    units |= {"history_bytes": ("stored KiB", 1024), "rate": ("1/s", 1), "memory": ("MiB", 1 << 20)}
    heads = "".join(f"{head + ' ×':>9}" for head in ratios.values())
    print(
        f"\n{'size':8} {'variant':8}  CPU ×      spread{heads}  {''.join(f'{head:>11}' for head, _ in units.values())}"
    )
    for row in made:
        cpu = row["cpu"]
        line = f"{label(row['size']):8} {row['variant']:8} {cpu['median']:6.2f} {cpu['low']:6.2f}-{cpu['high']:.2f}"
        line += "".join(f"{row[name]['median']:9.2f}" for name in ratios)
        print(line, "".join(f"{row[name]['absolute'] / unit:11.1f}" for name, (_, unit) in units.items()))


async def run(told: argparse.Namespace, server: TemporalServer, folder: Path) -> dict[str, Any]:
    """Measure everything, print it, and return what goes into the file."""
    async with AsyncExitStack() as stack:
        workers = {
            variant: await stack.enter_async_context(running(variant, server, folder, told.sizes))
            for variant in told.variants
        }
        made = rows(await measure(workers, folder, told.sizes, told.rounds, told.quick))
    print_rows(made)
    messages = await measure_messages(server, folder, 3 if told.quick else 7)
    print()
    for row in messages:
        took, cpu = row["milliseconds"], row["cpu_milliseconds"]
        print(
            f"{row['what']:40} {row['variant']:6} {row['bytes']:9} bytes "
            f"{took['median']:7.1f} ms ({took['low']:.1f}-{took['high']:.1f}) "
            f"client's CPU {cpu['median']:7.1f} ms ({cpu['low']:.1f}-{cpu['high']:.1f})"
        )
    counted = await count_instructions(server, folder) if told.instructions else []
    for row in counted:
        count = f"{row['instructions'] / 1e6:7.1f} M, × {row['ratio']:.3f}"
        print(f"instructions a workflow at 1 KiB: {row['variant']:8} {count}")
    return {
        "name": "worker",
        "rounds": told.rounds,
        "variants": {variant: VARIANTS[variant] for variant in told.variants},
        "rows": made,
        "messages": messages,
        "instructions": counted,
    }


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="variants:\n" + "\n".join(f"  {name:8} {text}" for name, text in VARIANTS.items()),
    )
    parser.add_argument("--rounds", type=int, help=f"default: {ROUNDS}")
    parser.add_argument(
        "--sizes", type=lambda text: [TypeAdapter(Bytes).validate_python(one) for one in text.split(",")]
    )
    parser.add_argument("--variants", type=lambda text: text.split(","), default=list(DEFAULT))
    parser.add_argument(
        "--quick", action="store_true", help="a minute: two sizes, three rounds, a quarter of the workflows"
    )
    parser.add_argument("--instructions", action="store_true", help="count instructions too, with valgrind: minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    told = parser.parse_args()
    told.sizes = told.sizes or list(SIZES[1:3] if told.quick else SIZES)
    told.rounds = told.rounds or (3 if told.quick else ROUNDS)
    if unknown := set(told.variants) - set(VARIANTS):
        parser.error(f"no such variant: {', '.join(sorted(unknown))}")
    told.variants = [name for name in VARIANTS if available(name) and name in {REFERENCE, *told.variants}]
    return told


def main() -> int:
    told = options()
    with tempfile.TemporaryDirectory() as scratch, TemporalServer(dynamic_config=_SERVER) as server:
        folder = Path(scratch)
        write_keys(folder)
        write_documents(folder, {1 << 10, *told.sizes})
        made = asyncio.run(run(told, server, folder))
    if told.json:
        told.json.write_text(json.dumps(made, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
