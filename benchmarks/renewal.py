"""Whether callers of encode notice that wrapping keys are renewed: latency with renewals beside latency without.

A KMS takes 50 ms for each call. One codec renews its wrapping key every 2 s, another never does; in rounds by turns,
each is called by 20 tasks of one event loop, each every 10 ms, with a payload of 1 KiB. Prints milliseconds of
wall-clock time. Of the rounds of each codec the median counts, so that what else the machine does in some does not.
Run: ``python benchmarks/renewal.py [--quick] [--json FILE]``; takes 50 s, with ``--quick`` 17 s. It fails if the 99.9th
percentile is over its bar.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from array import array
from pathlib import Path
from typing import Any

from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeConfig
from envelope_codec.keys.sealing_key import Scope, SealingKey
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms

BAR = 1.0  # milliseconds more than without renewals
CALL = 0.05  # seconds
MAX_AGE = 2.0  # seconds
ROUNDS, QUICK_ROUNDS = 9, 3
SECONDS = 2.4  # of a round, so that at least one renewal falls into it
WARM_UP = 0.3  # seconds; while the other codec is called, this one's key grows too old, and its next callers wait
TASKS = 20
PAUSE = 0.01  # seconds


class Callers:
    """One codec, and how long its callers waited.

    Attributes:
        kms: its master key, which counts calls.
        rounds: of each round, the milliseconds that each call took.
        waited: calls of the rounds that found no key at hand, and waited for the KMS.
    """

    def __init__(self, max_age: float) -> None:
        self.kms = FakeKms()
        self.kms.before_call = lambda operation: time.sleep(CALL)
        self.rounds: list[array[float]] = []
        self.waited = 0
        self._measuring = False
        self._codec = EnvelopeCodec(EnvelopeConfig(key=self.kms, max_age=max_age))
        self._payload = Payload(metadata={"encoding": b"json/plain"}, data=os.urandom(1_000))
        self._count_those_who_wait()

    async def round(self) -> None:
        """Measure once more."""
        await self._call(WARM_UP)
        self._measuring = True
        self.rounds.append(await self._call(SECONDS))
        self._measuring = False

    def percentile(self, share: float) -> float:
        """The median of the rounds'."""
        return statistics.median(sorted(taken)[int(len(taken) * share)] for taken in self.rounds)

    @property
    def longest(self) -> float:
        """The longest call of all rounds."""
        return max(map(max, self.rounds))

    def close(self) -> None:
        """End the codec."""
        self._codec.close()

    async def _call(self, seconds: float) -> array[float]:
        taken, end = array("d"), time.perf_counter() + seconds

        async def call_again_and_again(number: int) -> None:
            await asyncio.sleep(PAUSE * number / TASKS)
            while (begun := time.perf_counter()) < end:
                await self._codec.encode([self._payload])
                taken.append((time.perf_counter() - begun) * 1_000)
                await asyncio.sleep(PAUSE)

        await asyncio.gather(*map(call_again_and_again, range(TASKS)))
        return taken

    def _count_those_who_wait(self) -> None:
        keyring = self._codec.keyring
        ask = keyring.sealing_key

        async def asked(scope: Scope, *, timeout: float | None = None) -> SealingKey:
            self.waited += self._measuring
            return await ask(scope, timeout=timeout)

        keyring.sealing_key = asked  # type: ignore[method-assign]


def row(name: str, callers: Callers) -> dict[str, Any]:
    """Return the figures of one codec, in milliseconds."""
    return {
        "wrapping key": name,
        "calls": sum(map(len, callers.rounds)),
        "99 %": callers.percentile(0.99),
        "99.9 %": callers.percentile(0.999),
        "longest": callers.longest,
        "waited for the KMS": callers.waited,
        "wraps": callers.kms.wraps,
    }


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE too")
    chosen = parser.parse_args()
    never, often = Callers(max_age=86_400.0), Callers(max_age=MAX_AGE)
    for number in range(QUICK_ROUNDS if chosen.quick else ROUNDS):
        for callers in (never, often) if number % 2 else (often, never):
            await callers.round()
    print("wrapping key            calls   99 %  99.9 %    max ms  waited for the KMS  wraps")
    rows = [row("never renewed", never), row(f"renewed every {MAX_AGE:g} s", often)]
    for said in rows:
        figures = f"{said['99 %']:6.3f} {said['99.9 %']:7.3f} {said['longest']:9.3f}"
        print(
            f"{said['wrapping key']:20} {said['calls']:8} {figures} {said['waited for the KMS']:19} {said['wraps']:6}"
        )
    for callers in (never, often):
        callers.close()
    if chosen.json:
        chosen.json.write_text(json.dumps({"name": "renewal", "rows": rows}, indent=1), "utf-8")
    more = often.percentile(0.999) - never.percentile(0.999)
    missed = more > BAR
    print(f"99.9 % with renewals: {more:+.3f} ms  (bar {BAR}{', MISSED' if missed else ''})")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
