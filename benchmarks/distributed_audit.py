"""Audit many small workflows on the real server with three workers, one of which is killed, and on one machine.

Others start and end workflows meanwhile. Both audits look at one moment, and must count the same closed workflows. Run
it as ``python -m benchmarks.distributed_audit``. With 20,000 workflows it takes some minutes, most of them to make
these.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "localstack"))

from devstack import TemporalServer

from tests.support.distributed_audit import Place, audit_meanwhile, make_workflows, until_listed


async def measure(address: str, folder: Path, number: int, rate: int) -> bool:
    """Make the workflows, audit them twice, and print. Return whether both counted the same."""
    place, running = Place(address, "shared", folder), number // 10
    begun = time.monotonic()
    with place.plugin() as plugin:
        client = await place.connect(plugin)
        await make_workflows(client, number - running, running)
        await until_listed(client, "ExecutionStatus = 'Terminated'", number - running)
    print(f"{number:,} workflows made in {time.monotonic() - begun:.0f} s, {running:,} of which run", flush=True)
    outcome = await audit_meanwhile(place, running, "--wait", "5", "--rate", str(rate), "--takeover", "10")
    closed, alone = outcome.distributed["parts"]["closed"], outcome.local["parts"]["closed"]
    print(f"worker {outcome.killed} was killed; its window was read on by another, on attempt {outcome.attempts}")
    print(f"{outcome.moved:,} workflows were started or ended meanwhile")
    print(f"three workers: {closed['read']:,} closed workflows in {outcome.seconds[0]:.0f} s")
    print(f"one machine:   {alone['read']:,} closed workflows in {outcome.seconds[1]:.0f} s")
    print("the closed totals are the same" if closed == alone else f"THEY DIFFER: {closed} {alone}")
    return bool(closed == alone and outcome.distributed["complete"])


def main() -> None:
    """Measure, and exit with 1 if the two audits differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workflows", type=int, default=20_000)
    parser.add_argument("--rate", type=int, default=1_000, help="requests a second")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, TemporalServer(db=False, namespaces=("shared",)) as server:
        same = asyncio.run(measure(server.address, Path(folder), asked.workflows, asked.rate))
    raise SystemExit(0 if same else 1)


if __name__ == "__main__":
    main()
