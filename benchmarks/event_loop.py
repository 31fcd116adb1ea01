"""For how long sealing and opening keep an event loop from other work, in milliseconds.

A task that always wants to run is on the loop as well. The figure is its longest wait, with threads for large payloads
and pauses as they are, and without. It is the median of some rounds, in processor time of this process with all its
threads, so that other processes do not disturb it: while the loop waits for a thread, that thread works.
Run: ``python benchmarks/event_loop.py [--json FILE]``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
from collections.abc import Awaitable, Sequence
from pathlib import Path
from time import process_time
from unittest import mock

from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeCodec
from envelope_codec.temporal import codec as codec_module
from envelope_codec.temporal.large_payloads import LARGE, SHARE
from envelope_codec.testing import FakeKms

MIB = 2**20
CALLS = {
    "1 MiB": [MIB],
    "4 MiB": [4 * MIB],
    "8 MiB": [8 * MIB],
    "20 MiB": [20 * MIB],
    "1,000 of 1 KiB": [1_000] * 1_000,
    "1,000 of 100 KiB": [100_000] * 1_000,
}
ROUNDS = 9


async def longest_wait(work: Awaitable[object]) -> float:
    """Seconds of processor time for which ``work`` kept another task from running, at most."""
    longest, last, done = 0.0, process_time(), False

    async def watch() -> None:
        nonlocal longest, last
        while not done:
            await asyncio.sleep(0)
            now = process_time()
            longest, last = max(longest, now - last), now

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    last = process_time()
    result = await work
    done = True
    await watching
    del result  # to free it takes time as well
    return longest


async def measure(codec: EnvelopeCodec, sizes: Sequence[int]) -> dict[str, list[float]]:
    plain = [Payload(metadata={"encoding": b"json/plain"}, data=os.urandom(size)) for size in sizes]
    sealed = await codec.encode(plain)
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for how in ("as it is", "without"):
            large, share = (LARGE, SHARE) if how == "as it is" else (sys.maxsize, sys.maxsize)
            with mock.patch.multiple(codec_module, LARGE=large, SHARE=share):
                for operation, work in (("encode", codec.encode(plain)), ("decode", codec.decode(sealed))):
                    found.setdefault(f"{operation} {how}", []).append(await longest_wait(work))
    return found


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    options = parser.parse_args()
    codec = EnvelopeCodec(FakeKms())
    rows = []
    print(f"{'one call':17} operation  as it is, ms  without threads and pauses, ms")
    for name, sizes in CALLS.items():
        found = await measure(codec, sizes)
        for operation in ("encode", "decode"):
            now, before = (statistics.median(found[f"{operation} {how}"]) * 1e3 for how in ("as it is", "without"))
            rows.append({"call": name, "operation": operation, "ms": round(now, 2), "without_ms": round(before, 2)})
            print(f"{name:17} {operation:9} {now:13.2f} {before:31.2f}")
    codec.close()
    if options.json:
        options.json.write_text(json.dumps({"name": "event_loop", "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
