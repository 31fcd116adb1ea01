"""The instructions that a worker takes for a workflow, counted by valgrind: the same on a busy machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from devstack import TemporalServer

from benchmarks.worker_documents import read_documents
from benchmarks.worker_turns import running

SIZE = 1 << 10
VARIANTS = ("plain", "idle", "sealed")
_WARM_UP = 4  # workflows, after which nothing is made for the first time
_COUNTED = 12


async def count_instructions(server: TemporalServer, folder: Path) -> list[dict[str, Any]]:
    """Return the rows called ``instructions`` in `benchmarks/worker.py`; none without valgrind."""
    if shutil.which("valgrind") is None or shutil.which("callgrind_control") is None:
        print("no instructions are counted: valgrind is not installed", file=sys.stderr)
        return []
    counts = {}
    for variant in VARIANTS:
        print(f"counting instructions: {variant}", file=sys.stderr, flush=True)
        counts[variant] = await _count(variant, server, folder)
    return [
        {"variant": variant, "instructions": count, "ratio": count / counts[VARIANTS[0]]}
        for variant, count in counts.items()
    ]


async def _count(variant: str, server: TemporalServer, folder: Path) -> float:
    file = folder / f"callgrind-{variant}"
    under = ["valgrind", "--tool=callgrind", "-q", "--instr-atstart=no", f"--callgrind-out-file={file}"]
    orders = read_documents(folder, SIZE)
    with _without_deadlock_detection():
        async with running(variant, server, folder, [SIZE], under) as worker:
            await worker.run(orders, _WARM_UP, at_once=1)
            _control(worker.pid, "--instr=on")
            await worker.run(orders, _COUNTED, at_once=1)
            _control(worker.pid, "--dump")
            total = _total(file)
    return total / _COUNTED


def _total(file: Path) -> int:
    [dump] = file.parent.glob(f"{file.name}.*")
    totals = re.search(r"^(?:totals|summary): (\d+)", dump.read_text("utf-8", "replace"), re.MULTILINE)
    if totals is None:
        raise RuntimeError("callgrind has written no totals")
    return int(totals[1])


def _control(pid: int, command: str) -> None:
    subprocess.run(["callgrind_control", command, str(pid)], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def _without_deadlock_detection() -> Iterator[None]:
    """Let workflow tasks take longer than two seconds: under valgrind everything takes fifty times as long."""
    before = os.environ.get("TEMPORAL_DEBUG")
    os.environ["TEMPORAL_DEBUG"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TEMPORAL_DEBUG"]
        else:
            os.environ["TEMPORAL_DEBUG"] = before
