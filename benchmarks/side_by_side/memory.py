"""Peak memory of encode and decode of one payload of 20 MB, each entrant in a process of its own. Linux only."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from temporalio.api.common.v1 import Payload

from benchmarks.side_by_side.documents import make_payloads
from benchmarks.side_by_side.entrant import Entrant, close
from benchmarks.side_by_side.entrants import find_entrants
from benchmarks.side_by_side.kms import InProcessKms

SIZE = 20_000_000


def measure(entrants: list[Entrant]) -> list[dict[str, Any]]:
    """Return a row for each entrant: how many copies of the payload there are at the peak, the caller's among them.

    glibc is told to give large blocks back to the system when they are freed, or some that were freed count as well.
    """
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    rows = []
    for entrant in entrants:
        command = [sys.executable, "-m", "benchmarks.side_by_side.memory", entrant.name]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2], env=environment
        )
        rows.append({"entrant": entrant.name, **json.loads(done.stdout.splitlines()[-1])})
        print(f"memory: {entrant.name} done", flush=True)
    return rows


async def _copies(entrant: Entrant) -> dict[str, float]:
    new = entrant.prepare(InProcessKms())
    writer, reader = new(), new()
    await reader.decode(await writer.encode(make_payloads(1_000, 1)))  # keys, imports
    payloads = [_large()]
    before = _begin()
    sealed = await writer.encode(payloads)
    encode = _status("VmHWM") - before
    del payloads
    before = _begin()
    await reader.decode(sealed)
    decode = _status("VmHWM") - before
    close(writer)
    close(reader)
    return {"encode": 1 + encode / SIZE, "decode": 1 + decode / SIZE}


def _large() -> Payload:
    """Return a payload of about `SIZE` bytes, in pieces that repeat: making so many documents would take minutes."""
    [piece] = make_payloads(SIZE // 200, 1)
    return Payload(metadata=piece.metadata, data=piece.data * 200)


def _begin() -> int:
    """Forget the peak so far, and return the bytes that are in use."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1_024


if __name__ == "__main__":
    [chosen] = [entrant for entrant in find_entrants()[0] if entrant.name == sys.argv[1]]
    print(json.dumps(asyncio.run(_copies(chosen))))
