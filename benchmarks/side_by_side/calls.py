"""KMS calls for 10,000 payloads of one writer, opened by one reader; and the bytes that a sealed payload is larger."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from benchmarks.side_by_side.documents import make_payloads
from benchmarks.side_by_side.entrant import Entrant, close
from benchmarks.side_by_side.kms import InProcessKms

PAYLOADS = 10_000
_CHUNK = 50


async def measure(entrants: list[Entrant], *, seconds: float) -> list[dict[str, Any]]:
    """Return a row for each entrant.

    Args:
        entrants: who is measured.
        seconds: after which an entrant is stopped. Whoever calls the KMS for each payload would take minutes. What
            is more than a few calls is then scaled to all payloads.
    """
    rows = []
    for entrant in entrants:
        kms = InProcessKms()
        new = entrant.prepare(kms)
        writer, reader = new(), new()
        made = kms.calls  # once for ever, as a key store's
        payloads = make_payloads(1 << 10, _CHUNK)
        written = read = done = 0
        end = monotonic() + seconds
        while done < PAYLOADS and monotonic() < end:
            before = kms.calls
            sealed = await writer.encode(payloads)
            if not done:
                await _settle(kms)
            middle = kms.calls
            await reader.decode(sealed)
            written += middle - before
            read += kms.calls - middle
            done += len(payloads)
        rows.append(
            {
                "entrant": entrant.name,
                "payloads": done,
                "writer": _scaled(written, done),
                "reader": _scaled(read, done),
                "once": made,
                "overhead_bytes": sealed[0].ByteSize() - payloads[0].ByteSize(),
            }
        )
        close(writer)
        close(reader)
        print(f"calls: {entrant.name} done", flush=True)
    return rows


async def _settle(kms: InProcessKms) -> None:
    """Wait until no more calls come: a new wrapping key is unwrapped once in the background."""
    before = -1
    while before != kms.calls:
        before = kms.calls
        await asyncio.sleep(0.3)


def _scaled(calls: int, payloads: int) -> int:
    """Return the calls of `PAYLOADS`, if ``payloads`` made ``calls``. A few calls do not grow with the payloads."""
    return calls if calls * 10 < payloads else round(calls * PAYLOADS / payloads)
