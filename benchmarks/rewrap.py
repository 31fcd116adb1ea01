"""Measure how long a rewrap takes: a KMS that answers after some milliseconds, and a keystore that is a real database.

Run it as ``python -m benchmarks.rewrap --keystore postgresql``. The database is started for it, and ended.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from envelope_codec.cli.keystores import open_keystore
from envelope_codec.cli.reading.pace import Pace
from envelope_codec.cli.rewrap.master_keys import MasterKeys
from envelope_codec.cli.rewrap.run import Run
from envelope_codec.cli.rewrap.steps import Outcome, drop_old, rewrap
from envelope_codec.cli.row_batches import RowBatches
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keystore import parse_keystore_url
from envelope_codec.keystore_row import KeystoreRow
from envelope_codec.keystores.sql import SqlKeystore
from envelope_codec.testing import FakeKms
from tests.support.rewrapped_rows import Nobody, row_by

sys.path.insert(0, str(Path(__file__).parents[1] / "localstack"))
from devstack import PostgresServer, ValkeyServer

_RATE = 1_000_000.0  # calls a second: no limit


@contextmanager
def sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite+aiosqlite:///{folder}/keystore.db"


@contextmanager
def postgresql() -> Iterator[str]:
    with PostgresServer() as server:
        yield server.url


@contextmanager
def redis() -> Iterator[str]:
    with ValkeyServer() as server:
        yield f"{server.url}?prefix=envelope:"


KEYSTORES = {"sqlite": sqlite, "postgresql": postgresql, "redis": redis}


def fill(url: str, rows: Iterable[KeystoreRow]) -> None:
    """Put ``rows`` into the keystore, past it: as fast as the database takes them."""
    made: list[dict[str, Any]] = [{"key": row.key, "data": row.serialize(), "revision": "made"} for row in rows]
    if url.startswith("redis"):
        import redis as client

        with client.Redis.from_url(url.partition("?")[0]) as connection:
            pipeline: Any = connection.pipeline(transaction=False)
            for one in made:
                pipeline.hset(f"envelope:{one['key'].hex()}", mapping={"data": one["data"], "revision": "made"})
            pipeline.execute()
        return
    engine = create_engine(url.replace("+aiosqlite", ""))
    keystore = SqlKeystore(url)
    with engine.begin() as database:
        database.execute(text(keystore.ddl.rstrip().rstrip(";")))
        database.execute(text("INSERT INTO envelope_keystore VALUES (:key, :data, :revision)"), made)
    engine.dispose()


class Times:
    """What one pass takes."""

    def __init__(self) -> None:
        self._begun, self._used = time.perf_counter(), time.process_time()

    def tell(self, what: str, rows: int, calls: int, milliseconds: float, in_flight: int) -> None:
        took, used = time.perf_counter() - self._begun, time.process_time() - self._used
        waiting = calls * milliseconds / 1_000 / in_flight
        print(
            f"{what}: {took:.1f} s for {rows:,} rows and {calls:,} calls, of which waiting for the KMS alone is "
            f"{waiting:.1f} s; {used / rows * 1_000:.2f} ms of processor time a row",
            flush=True,
        )


async def measure(url: str, rows: int, milliseconds: float, in_flight: int) -> None:
    old, new = FakeKms(), FakeKms()
    fill(url, (row_by(old) for _ in range(rows)))
    old.before_call = new.before_call = lambda _: time.sleep(milliseconds / 1_000)
    keys = KeySet(new, decrypt_keys=(old,))
    masters = MasterKeys(old, new, lambda _: keys)
    async with open_keystore(parse_keystore_url(url)) as client:
        run = Run(RowBatches(client), masters, in_flight=in_flight, pace=Pace(_RATE), progress=Nobody())
        try:
            for what, expected, steps in passes(masters):
                times = Times()
                survey = await run.survey(0)
                counts = await run.follow_all(what, survey.under_old, steps)
                assert counts.outcomes == {expected: rows}, counts
                after = await run.survey(0, is_last=True)
                assert not after.lacking
                times.tell(what, rows, counts.calls, milliseconds, in_flight)
        finally:
            run.close()


def passes(masters: MasterKeys) -> Iterator[tuple[str, Outcome, Callable[[bytes], Any]]]:
    yield "first pass", Outcome.added, lambda key: rewrap(key, masters.ids)
    yield "first pass again", Outcome.there, lambda key: rewrap(key, masters.ids)
    yield "second pass", Outcome.dropped, lambda key: drop_old(key, masters.ids, lambda key, recipient: True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keystore", choices=sorted(KEYSTORES), default="sqlite")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--milliseconds", type=float, default=5.0)
    parser.add_argument("--in-flight", type=int, default=32)
    asked = parser.parse_args()
    with KEYSTORES[asked.keystore]() as url:
        print(f"{asked.keystore}, a KMS of {asked.milliseconds:g} ms, {asked.in_flight} in flight", flush=True)
        asyncio.run(measure(url, asked.rows, asked.milliseconds, asked.in_flight))


if __name__ == "__main__":
    main()
