"""Measure how long a rewrap takes, with a KMS that answers after some milliseconds and a keystore in memory.

Run it as ``python -m benchmarks.rewrap``.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from envelope_codec.cli.rewrap.master_keys import MasterKeys
from envelope_codec.cli.rewrap.run import Run
from envelope_codec.cli.rewrap.steps import Outcome, Steps, rewrap
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keystore_client import KeystoreClient
from envelope_codec.testing import FakeKeystore, FakeKms
from tests.support.rewrapped_rows import Nobody, row_by


async def no_pace() -> None:
    pass


def made(rows: int, old: FakeKms) -> FakeKeystore:
    keystore = FakeKeystore()
    for row in (row_by(old) for _ in range(rows)):
        keystore.kept[row.key] = row.serialize(), "1"
    return keystore


async def measure(rows: int, seconds: float, in_flight: int) -> tuple[float, float, int]:
    """Return the seconds, the processor seconds and the calls of one first pass."""
    old, new = FakeKms(), FakeKms()
    client = KeystoreClient(made(rows, old))
    old.before_call = new.before_call = lambda _: time.sleep(seconds)
    keys = KeySet(new, decrypt_keys=(old,))
    masters = MasterKeys(old, new, lambda _: keys)
    run = Run(client, masters, in_flight=in_flight, pace=no_pace, progress=Nobody())

    def steps(key: bytes) -> Steps:
        return rewrap(key, masters.ids)

    try:
        begun, used = time.perf_counter(), time.process_time()
        survey = await run.survey(0)
        counts = await run.follow_all("rewrapping", survey.under_old, steps)
        assert counts.outcomes == {Outcome.added: rows}
        return time.perf_counter() - begun, time.process_time() - used, counts.calls
    finally:
        run.close()
        await client.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--milliseconds", type=float, default=5.0)
    parser.add_argument("--in-flight", type=int, default=32)
    asked = parser.parse_args()
    seconds, used, calls = asyncio.run(measure(asked.rows, asked.milliseconds / 1_000, asked.in_flight))
    waiting = calls * asked.milliseconds / 1_000 / asked.in_flight
    print(f"{asked.rows:,} rows, {calls:,} calls of {asked.milliseconds:g} ms, {asked.in_flight} in flight")
    print(f"{seconds:.1f} s, of which waiting for the KMS alone is {waiting:.1f} s; {used:.1f} s of processor time")


if __name__ == "__main__":
    main()
