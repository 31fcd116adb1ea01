"""An audit in a process of its own, which prints what it needed: processor time, and memory as it went on.

Run it as ``python -m benchmarks.audit_process ADDRESS audit|fetch MARK ...``. With ``fetch`` it asks the server for the
same, and counts nothing. At each mark, a number of workflows, it looks at the memory.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from temporalio.client import Client

from benchmarks.audit_server import T0
from envelope_codec.cli.audit.checkpoint import Checkpoint
from envelope_codec.cli.audit.own_runs import CountOne
from envelope_codec.cli.audit.record_import import RecordImport
from envelope_codec.cli.audit.scan import Scan
from envelope_codec.cli.audit.source_tally import tally_source
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.cli.reading.reader import Reader, Source


class Marks:
    """Is told of each workflow, and looks at the memory when as many as wanted are done."""

    def __init__(self, marks: list[int]) -> None:
        self.seen: dict[int, float] = {}
        self._marks, self._done = marks, 0

    def expect(self, doing: str, total: int | None) -> None:
        """Begin a step. Those that follow the reading of closed workflows read nothing here."""

    def advance(self) -> None:
        """Count a workflow."""
        self._done += 1
        if self._done in self._marks:
            self.seen[self._done] = resident()


def resident() -> float:
    """Return how many MiB of this process are in memory, as Linux counts them."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


class Fetching(Scan):
    """Asks for everything, and counts nothing."""

    async def _count_each(self, sources: list[Source], tally: Tally, count_one: CountOne = tally_source) -> None:
        await super()._count_each(sources, tally, fetch_source)


async def fetch_source(reader: Reader, source: Source, importer: RecordImport | None = None) -> Tally:
    """Read a source as `tally_source` does."""
    async for _ in reader.messages(source):
        pass
    return Tally(sources=1)


async def run(address: str, kind: type[Scan], marks: list[int]) -> None:
    """Audit the server, and print."""
    reader, watcher = Reader(await Client.connect(address), "default"), Marks(marks)
    with Checkpoint(None, {}, T0) as checkpoint:
        begun, used = time.monotonic(), time.process_time()
        findings = await kind(reader, checkpoint, watcher, wait=0).run()
        took = {"seconds": time.monotonic() - begun, "processor": time.process_time() - used}
    payloads = sum(need.payloads for need in findings.whole.needs.values())
    print(json.dumps({**took, "workflows": findings.whole.sources, "payloads": payloads, "memory": watcher.seen}))


if __name__ == "__main__":
    address, kind, *marks = sys.argv[1:]
    asyncio.run(run(address, Scan if kind == "audit" else Fetching, [int(mark) for mark in marks]))
    sys.stdout.flush()
    os._exit(0)  # a thread of the SDK may abort an interpreter that ends: temporalio/sdk-python#300
