"""What `compression = "zstd"` saves, and what it costs: bytes of envelopes, processor time to seal and to open.

Order-like documents in JSON, each different, and random bytes, which do not compress. Both codecs take turns in one
process, with keys at hand. Prints the bytes of the sealed payloads, the microseconds of this thread's processor time
for each payload (the median of the rounds), and the ratio of the latter to the codec without compression.
Run: ``python benchmarks/compression.py [--rounds N] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import statistics
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import thread_time
from typing import Any

from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeCodec, EnvelopeConfig
from envelope_codec.testing import FakeKms

SIZES = {
    **{"256 B": 2**8, "512 B": 2**9, "1 KiB": 2**10, "4 KiB": 2**12, "10 KiB": 10 * 2**10},
    **{"100 KiB": 100 * 2**10, "1 MiB": 2**20},
}
DOCUMENTS = 16  # different ones of each size, at most
ROUNDS = 15
ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
CITIES = ("Berlin", "Paris", "Rome", "Madrid", "Vienna", "Lisbon", "Prague")
GOODS = ("desk lamp", "office chair", "notebook", "green mug", "wall clock", "bookshelf")

Call = Callable[[list[Payload]], Awaitable[list[Payload]]]


def order(size: int, chance: random.Random) -> Payload:
    """An order in JSON, of about ``size`` bytes serialized: its lines are as many as fit."""
    document: dict[str, Any] = {
        "orderId": f"{chance.getrandbits(64):016x}",
        "customer": {"name": f"Customer {chance.randrange(10**6)}", "city": chance.choice(CITIES)},
        "lines": [],
    }
    length = len(json.dumps(document)) + 40
    while length < size:
        line = {
            "sku": f"{chance.getrandbits(40):010x}",
            "title": chance.choice(GOODS),
            "quantity": chance.randrange(1, 20),
            "price": f"{chance.randrange(10**5) / 100:.2f}",
            "currency": "EUR",
        }
        length += len(json.dumps(line)) + 2
        if length > size and document["lines"]:
            break
        document["lines"].append(line)
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(document).encode())


def noise(size: int, chance: random.Random) -> Payload:
    """Random bytes."""
    return Payload(metadata={"encoding": b"binary/plain"}, data=chance.randbytes(size - 40))


async def microseconds(call: Call, payloads: list[Payload], repeats: int) -> float:
    """Processor time for each of ``payloads``, one a call."""
    begun = thread_time()
    for _ in range(repeats):
        for payload in payloads:
            await call([payload])
    return (thread_time() - begun) / (repeats * len(payloads)) * 1e6


async def measure(name: str, content: str, given: list[Payload], rounds: int) -> dict[str, Any]:
    kms = FakeKms(ARN)
    plain = EnvelopeCodec(EnvelopeConfig(key=kms))
    zstd = EnvelopeCodec(EnvelopeConfig(key=kms, compression="zstd", compression_min_size=0))
    sealed = {"none": await plain.encode(given), "zstd": await zstd.encode(given)}
    calls: dict[tuple[str, str], tuple[Call, list[Payload]]] = {
        ("seal", "none"): (plain.encode, given),
        ("seal", "zstd"): (zstd.encode, given),
        ("open", "none"): (plain.decode, sealed["none"]),
        ("open", "zstd"): (plain.decode, sealed["zstd"]),
    }
    repeats = max(1, 2_000_000 // sum(20_000 + payload.ByteSize() for payload in given))
    times: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    gc.disable()
    for _ in range(rounds):  # in turns, so that a machine that is slow for a while slows all
        for key, (call, payloads) in calls.items():
            times[key].append(await microseconds(call, payloads, repeats))
    gc.enable()
    plain.close()
    zstd.close()
    sizes = {how: sum(payload.ByteSize() for payload in payloads) / len(given) for how, payloads in sealed.items()}
    row: dict[str, Any] = {"size": name, "content": content}
    for how, size in sizes.items():
        row[f"bytes_{how}"] = round(size)
    row["bytes_ratio"] = round(sizes["zstd"] / sizes["none"], 3)
    for operation in ("seal", "open"):
        for how in ("none", "zstd"):
            row[f"{operation}_us_{how}"] = round(statistics.median(times[operation, how]), 1)
        pairs = zip(times[operation, "zstd"], times[operation, "none"], strict=True)
        row[f"{operation}_ratio"] = round(statistics.median(after / before for after, before in pairs), 2)
    return row


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    options = parser.parse_args()
    chance = random.Random(1)
    rows = []
    print(f"{'':18} {'sealed, bytes':>22}       {'seal, µs':>18}      {'open, µs':>18}")
    print(f"{'size':8} {'content':9} {'none':>10} {'zstd':>10} {'ratio':>6} ", end="")
    print(" ".join([f"{'none':>9} {'zstd':>9} {'ratio':>5}"] * 2))
    for content, make in (("order", order), ("random", noise)):
        for name, size in SIZES.items():
            given = [make(size, chance) for _ in range(max(1, min(DOCUMENTS, 4 * 2**20 // size)))]
            row = await measure(name, content, given, options.rounds)
            rows.append(row)
            figures = " ".join(
                f"{row[f'{what}_us_none']:9.1f} {row[f'{what}_us_zstd']:9.1f} {row[f'{what}_ratio']:5.2f}"
                for what in ("seal", "open")
            )
            sizes = f"{row['bytes_none']:10,} {row['bytes_zstd']:10,} {row['bytes_ratio']:6.3f}"
            print(f"{name:8} {content:9} {sizes} {figures}", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps({"name": "compression", "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
