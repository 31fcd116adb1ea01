"""How much memory sealing and opening take at most for one payload of 20 MiB, as a multiple of its size.

Each operation runs in a process of its own, and the caller's own payload counts as the first copy. Peak resident memory
is what the system says of the process, since a Python profiler does not see what protobuf allocates. glibc is told to
give large blocks back to the system when they are freed. A codec with one static key is measured beside.
Run: ``python benchmarks/memory.py [--check] [--json FILE]``; with ``--check`` it fails if a figure is over its bar.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from hot_path import StaticKeyCodec
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from envelope_codec import EnvelopeCodec
from envelope_codec.testing import FakeKms

SIZE = 20 * 2**20
BAR = 3.1  # 3 copies, and what a thread or a first import needs besides
CODECS = ("static key", "envelope")
OPERATIONS = ("encode", "decode")
_UNIT = 1 if sys.platform == "darwin" else 1_024


def peak() -> int:
    """Bytes of memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT


async def run(name: str, operation: str) -> None:
    """Print the peak of one operation, in copies of the payload: for a process of its own."""
    codec: PayloadCodec = StaticKeyCodec() if name == "static key" else EnvelopeCodec(FakeKms())
    small = Payload(metadata={"encoding": b"json/plain"}, data=bytes(1_000))
    await codec.decode(await codec.encode([small]))  # once, for what is made at the first use
    before = peak()
    payload = Payload(metadata={"encoding": b"json/plain"}, data=os.urandom(SIZE))
    made = peak()
    if operation == "decode":
        payloads = await codec.encode([payload])
        del payload
        made = 0
        Path(f"/proc/{os.getpid()}/clear_refs").write_text("5")  # noqa: ASYNC240
        await codec.decode(payloads)
    else:
        await codec.encode([payload])
    print((peak() - before) / SIZE, made)
