"""The worker of `benchmarks/worker.py`, in a process of its own. It measures itself between two lines of its input.

It prints ``ready`` when it polls. For the line ``begin`` it answers ``begun``; for the line ``end``, what it has used
since then as one line of JSON: seconds of ``cpu``, bytes ``sent`` and ``received``, bytes of ``memory`` at the peak.
It ends with its input.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from temporalio.worker import Worker  # noqa: E402 - found through the path above

from benchmarks.worker_documents import read_documents  # noqa: E402
from benchmarks.worker_usage import forget_peak_memory, peak_memory, usage_of_this_process  # noqa: E402
from benchmarks.worker_variants import connecting  # noqa: E402
from benchmarks.worker_workflow import Orders, Shop  # noqa: E402


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant")
    parser.add_argument("address")
    parser.add_argument("folder", type=Path)
    parser.add_argument("sizes", type=int, nargs="+")
    told = parser.parse_args()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the SDK's core logs to standard output
    shop = Shop({size: read_documents(told.folder, size) for size in told.sizes})
    with connecting(told.variant, told.folder) as connect:
        client = await connect(told.address)
        async with Worker(client, task_queue=told.variant, workflows=[Orders], activities=[shop.follow]):
            print("ready", file=answers)
            await serve(told.address, answers)


async def serve(address: str, answers: TextIO) -> None:
    """Answer the lines of the input."""
    before = asdict(usage_of_this_process(address))
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if line == "begin":
            gc.collect()
            forget_peak_memory()
            before = asdict(usage_of_this_process(address))
            print("begun", file=answers)
        else:
            used = asdict(usage_of_this_process(address))
            answer: dict[str, Any] = {name: used[name] - before[name] for name in used}
            print(json.dumps({**answer, "memory": peak_memory()}), file=answers)


if __name__ == "__main__":
    asyncio.run(main())
