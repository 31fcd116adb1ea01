"""How much memory sealing and opening take at most for one payload of 20 MiB, as a multiple of its size.

The caller's own payload counts as the first copy. Each operation runs in a process of its own, and the figure is that
process's resident memory at the peak (Linux alone tells): a Python profiler does not see what protobuf allocates. glibc
is told to give large blocks back to the system when they are freed. A codec with one static key is measured beside.
Run: ``python benchmarks/memory.py [--check] [--json FILE]``; with ``--check`` it fails if a figure is over its bar.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from envelope_codec import EnvelopeCodec
from envelope_codec.testing import FakeKms

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.static_key import StaticKeyCodec

SIZE = 20 * 2**20
BAR = 3.1  # 3 copies, and what else a call needs
CODECS = ("static key", "envelope")
OPERATIONS = ("encode", "decode")


def resident(name: str) -> int:
    """Bytes of resident memory of this process: at present (``VmRSS``), or at the peak (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1_024 for line in lines if line.startswith(f"{name}:"))


async def use(name: str, operation: str) -> None:
    """Print the peak of one operation: in a process of its own."""
    codec: PayloadCodec = StaticKeyCodec() if name == "static key" else EnvelopeCodec(FakeKms())
    small = Payload(metadata={"encoding": b"json/plain"}, data=bytes(1_000))
    await codec.decode(await codec.encode([small]))  # once, for what is made at the first use
    before = resident("VmRSS")
    given = Payload(metadata={"encoding": b"json/plain"}, data=os.urandom(SIZE))
    if operation == "decode":
        [given] = await codec.encode([given])
    Path("/proc/self/clear_refs").write_text("5")  # noqa: ASYNC240 - from now on the peak counts anew
    await (codec.encode if operation == "encode" else codec.decode)([given])
    print(resident("VmHWM") - before)


def measure(name: str, operation: str) -> float:
    """Return the peak of one operation, in copies of the payload."""
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, "--use", name, operation]
    return int(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout) / SIZE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="fail if a figure is over its bar")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    parser.add_argument("--use", nargs=2, metavar=("CODEC", "OPERATION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.use:
        asyncio.run(use(*options.use))
        return 0
    if not Path("/proc/self/clear_refs").exists():
        print("memory: not measured, for want of /proc")
        return 0
    rows = []
    print("operation  codec       copies of 20 MiB at the peak")
    for operation in OPERATIONS:
        for name in CODECS:
            copies = measure(name, operation)
            rows.append({"size": "20 MiB", "operation": operation, "codec": name, "copies": round(copies, 2)})
            print(f"{operation:10} {name:11} {copies:6.2f}" + (f"  (bar {BAR})" if name == "envelope" else ""))
    if options.json:
        options.json.write_text(json.dumps({"name": "memory", "rows": rows}, indent=2) + "\n")
    over = any(row["codec"] == "envelope" and float(str(row["copies"])) > BAR for row in rows)
    return 1 if options.check and over else 0


if __name__ == "__main__":
    sys.exit(main())
