"""Encode and decode time per payload, as ratios to a codec with one static AES-GCM key.

The static-key codec does what the codec in Temporal's samples does. Both are called as
``await codec.encode([payload])``, or with 50 payloads at once, in turns, in one process, with keys at hand, as in
steady state. Prints microseconds of this thread's processor time for each payload (the best round) and the ratios.
Run: ``python benchmarks/hot_path.py [--check] [--json FILE]``; with ``--check`` it fails if a ratio is over its bar.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import timeit
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import thread_time
from typing import NamedTuple

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec, WorkflowSerializationContext

from benchmarks.static_key import StaticKeyCodec
from envelope_codec import EnvelopeCodec, EnvelopeConfig
from envelope_codec.envelope import NAME_DATA_KEY, Purpose, Recipient, build_record, commit, record_head, seal
from envelope_codec.testing import FakeKms

SIZES = {"100 B": [100], "1 KiB": [1 << 10], "64 KiB": [1 << 16], "1 MiB": [1 << 20], "50 × 1 KiB": [1 << 10] * 50}
BARS = {("1 KiB", "encode"): 3.3, ("1 KiB", "decode"): 5.0, ("1 MiB", "encode"): 1.1, ("1 MiB", "decode"): 1.1}
ROUNDS = 80
ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


async def seconds(call: Callable[[list[Payload]], Awaitable[object]], payloads: list[Payload], times: int) -> float:
    """Return the seconds that ``call`` takes for each of ``payloads``."""
    begun = thread_time()
    for _ in range(times):
        await call(payloads)
    return (thread_time() - begun) / times / len(payloads)


def overhead() -> int:
    """Bytes that sealing adds to a serialized payload, with one key ARN and a ciphertext as long as AWS makes it."""
    head = record_head(Purpose.WRAPPING_KEY, 1, {"temporal-namespace": "default"})
    key, record_id = commit(bytes(32), head)
    record = build_record(head, record_id, [Recipient(ARN, "", bytes(184))])
    inner = Payload(metadata={"encoding": b"json/plain"}, data=bytes(1_000)).SerializeToString()
    wrapped, data = seal(inner, record, key)
    sealed = Payload(metadata={**record.metadata, NAME_DATA_KEY: wrapped or b""}, data=data)
    return len(sealed.SerializeToString()) - len(inner)


class Row(NamedTuple):
    """One size and operation: seconds a payload, with the static key and with an envelope."""

    size: str
    operation: str
    static: float
    envelope: float

    @property
    def ratio(self) -> float:
        return self.envelope / self.static

    def is_over(self) -> bool:
        return self.ratio > BARS.get((self.size, self.operation), float("inf"))

    def __str__(self) -> str:
        bar = BARS.get((self.size, self.operation))
        note = f"  (bar {bar}{', MISSED' if self.is_over() else ''})" if bar else ""
        times = f"{self.static * 1e6:10.2f} {self.envelope * 1e6:12.2f}"
        return f"{self.size:10} {self.operation:9} {times} {self.ratio:6.2f}{note}"


async def compare(static: PayloadCodec, envelope: PayloadCodec) -> list[Row]:
    """Measure each size in both directions, and print a line for each."""
    rows = []
    print("size       operation  static µs  envelope µs  ratio")
    for name, sizes in SIZES.items():
        plain = [Payload(metadata={"encoding": b"json/plain"}, data=os.urandom(size)) for size in sizes]
        by_static, by_envelope = await static.encode(plain), await envelope.encode(plain)
        times = max(2, min(250, 4_000_000 // sum(size + 15_000 for size in sizes)))
        for operation, ours, theirs in (
            ("encode", (envelope.encode, plain), (static.encode, plain)),
            ("decode", (envelope.decode, by_envelope), (static.decode, by_static)),
        ):
            best = [float("inf"), float("inf")]
            gc.disable()
            for _ in range(ROUNDS):  # in turns, so that a slower machine for a while slows both
                best = [min(best[0], await seconds(*theirs, times)), min(best[1], await seconds(*ours, times))]
            gc.enable()
            rows.append(Row(name, operation, *best))
            print(rows[-1])
    return rows


def write_json(path: Path, rows: Sequence[Row]) -> None:
    """Write the ratios, for a guard that compares them with earlier ones."""
    listed = [{"size": row.size, "operation": row.operation, "ratio": round(row.ratio, 3)} for row in rows]
    path.write_text(json.dumps({"name": "hot_path", "rows": listed}, indent=2) + "\n")


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="fail if a ratio is over its bar")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the ratios to FILE as well")
    options = parser.parse_args()

    kms = FakeKms(ARN)
    static, envelope = StaticKeyCodec(), EnvelopeCodec(EnvelopeConfig(key=kms))
    rows = await compare(static, envelope)
    failures = sum(row.is_over() for row in rows)
    context = WorkflowSerializationContext("default", "w")
    bound = envelope.with_context(context)
    best_context = min(timeit.repeat(lambda: bound.with_context(context), number=20_000, repeat=5)) / 20_000
    over = best_context > 1.5e-6
    failures += over
    print(f"with_context where nothing changes: {best_context * 1e6:.2f} µs  (bar 1.5{', MISSED' if over else ''})")
    print(f"KMS calls in all of it: {kms.wraps} wrap, {kms.unwraps} unwraps")
    print(f"envelope overhead with one AWS recipient: {overhead()} bytes  (bar 600)")
    envelope.close()
    if options.json:
        write_json(options.json, rows)
    return 1 if options.check and failures else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
