"""Measure an audit beside what fetching the same histories costs by itself, and its memory as it goes on.

The server is made up, but the audit asks it over gRPC, as any: see `benchmarks.audit_server`. Each run is a process of
its own, and processor time is that of the process, the SDK's client included. Run it as ``python -m benchmarks.audit``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PAYLOADS = 100
"""How many payloads a history has where the rate is measured, in half as many activities."""

MARKS = (10_000, 30_000, 50_000)
"""After how many workflows the memory is looked at."""


@contextmanager
def serve(workflows: int, payloads: int, size: int) -> Iterator[str]:
    """Run a server with so many workflows, and give its address."""
    arguments = [sys.executable, "-m", "benchmarks.audit_server", *map(str, (workflows, payloads, size))]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            assert server.stdin is not None
            server.stdin.close()


def audit(address: str, kind: str = "audit", *marks: int) -> dict[str, Any]:
    """Run an audit, and return what it printed."""
    arguments = [sys.executable, "-m", "benchmarks.audit_process", address, kind, *map(str, marks)]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure_rate(workflows: int, size: int, rounds: int) -> str:
    """Measure the processor time of fetching, and of fetching and counting, in turns."""
    with serve(workflows, PAYLOADS, size) as address:
        pairs = [(audit(address, "fetch"), audit(address)) for _ in range(rounds)]
    payloads = pairs[0][1]["payloads"]
    assert payloads == workflows * PAYLOADS
    fetching = statistics.median(fetched["processor"] for fetched, _ in pairs) / payloads
    counting = statistics.median(counted["processor"] - fetched["processor"] for fetched, counted in pairs) / payloads
    return (
        f"payloads of {size:>6,} bytes: fetching {fetching * 1e6:5.1f} µs each, "
        f"counting {counting * 1e6:5.1f} µs more, which is {1 / counting:,.0f} payloads a second a core"
    )


def measure_memory(marks: tuple[int, ...]) -> Iterator[str]:
    """Look at the memory of one audit after some, more and all workflows."""
    with serve(marks[-1], 2, 100) as address:
        result = audit(address, "audit", *marks)
    assert result["workflows"] == marks[-1]
    for mark in marks:
        yield f"after {mark:>6,} workflows: {result['memory'][str(mark)]:.1f} MiB"
    yield f"{result['workflows'] / result['seconds']:,.0f} workflows a second, one server on the same machine"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few workflows")
    quick = parser.parse_args().quick
    for size in (100, 1_000, 10_000):
        print(measure_rate(10 if quick else 200, size, 1 if quick else 5), flush=True)
    for line in measure_memory(tuple(mark // 100 for mark in MARKS) if quick else MARKS):
        print(line, flush=True)


if __name__ == "__main__":
    main()
