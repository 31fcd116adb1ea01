"""Puts and gets per second of every store on its real server, beside its bare client library doing the same.

Both take turns in one process, with as many calls at once. Prints calls per second, the 99th percentile of a call's
time in milliseconds, and the ratio of the times: of the median round, so that a disturbance of the machine does not
count. Then what the driver adds, which hashes what it stores and seals a claim, and what a worker's memory grows by.
The library of SQL databases is SQLAlchemy, that of files the operating system's calls.
Run: ``python benchmarks/storage.py [--store NAME]… [--check]``; with ``--check`` it fails if a ratio is over its bar.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT / "localstack"), str(_ROOT / "tests"), str(_ROOT)]

from devstack import LocalStack, MariaDbServer, MongoServer, PostgresServer, ValkeyServer  # noqa: E402 - found through the path above
from temporalio.api.common.v1 import Payload  # noqa: E402
from temporalio.converter import StorageDriverRetrieveContext, StorageDriverStoreContext  # noqa: E402

from benchmarks.storage_bare import Bare, bare  # noqa: E402
from benchmarks.storage_memory import print_memory  # noqa: E402
from envelope_codec import EnvelopeConfig  # noqa: E402
from envelope_codec.storage.driver import EnvelopeDriver  # noqa: E402
from envelope_codec.storage.pool import Pool  # noqa: E402
from envelope_codec.store import PayloadStore, parse_store_url  # noqa: E402
from envelope_codec.temporal.codec import EnvelopeCodec  # noqa: E402
from envelope_codec.testing import FakeKms  # noqa: E402
from tests.support.harness_stores import (  # noqa: E402
    S3,
    SERVED,
    Files,
    MariaDb,
    Mongo,
    Postgres,
    Sqlite,
    Valkey,
    aws_environment,
)

SIZES = {"1 KiB": 1 << 10, "1 MiB": 1 << 20}
BAR = 1.3  # of the bare library's time, at 1 MiB
AT_ONCE = 8
ROUNDS = 9
CALLS = {"1 KiB": 200, "1 MiB": 40}  # in each round

Call = Callable[[str, bytes], Coroutine[Any, Any, Any]]


class Times(NamedTuple):
    """Of one side: seconds of each round, and of each call."""

    rounds: list[float]
    calls: list[float]

    def text(self, count: int) -> str:
        return f"{count / median(self.rounds):8.0f}/s p99 {quantiles(self.calls, n=100)[98] * 1_000:7.1f} ms"


async def measured(sides: list[Call], data: bytes, count: int, ids: list[list[str]]) -> list[Times]:
    """Each side makes ``count`` calls a round, in turns; ``ids`` are those of each round."""
    times = [Times([], []) for _ in sides]
    for number, round_ids in enumerate(ids):
        order = range(len(sides)) if number % 2 else reversed(range(len(sides)))
        for side in order:
            calls = times[side].calls
            waiting = iter(round_ids[:count])

            async def work(
                call: Call = sides[side], calls: list[float] = calls, waiting: Iterator[str] = waiting
            ) -> None:
                for id in waiting:
                    begun = time.perf_counter()
                    await call(id, data)
                    calls.append(time.perf_counter() - begun)

            begun = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(AT_ONCE)))
            times[side].rounds.append(time.perf_counter() - begun)
    return [Times(one.rounds[1:], one.calls[count:]) for one in times]  # the first round opens connections


def ratio(ours: Times, theirs: Times) -> float:
    return median(a / b for a, b in zip(ours.rounds, theirs.rounds, strict=True))


async def compare(kind: str, url: str) -> list[str]:
    """Print the figures of one store; what is over its bar."""
    store, library, over = parse_store_url(url).open(), await bare(kind, url, AT_ONCE), []
    for name, size in SIZES.items():
        data, count = os.urandom(size), CALLS[name]
        ids = [[os.urandom(16).hex() for _ in range(count)] for _ in range(ROUNDS)]
        for operation, sides in (("put", _puts(store, library)), ("get", _gets(store, library))):
            ours, theirs = await measured(sides, data, count, ids)
            found = ratio(ours, theirs)
            bar = f" (bar {BAR})" if size == SIZES["1 MiB"] else ""
            print(
                f"{kind:11} {name} {operation}  {ours.text(count)}   {theirs.text(count)}   {found:5.2f}{bar}",
                flush=True,
            )
            if bar and found > BAR:
                over.append(f"{kind} {operation}: {found:.2f}")
    await store.close()
    await library.close()
    return over


def _puts(store: PayloadStore, library: Bare) -> list[Call]:
    # The ids differ: both may keep things in one table.
    return [store.put, lambda id, data: library.put(id[::-1], data)]


def _gets(store: PayloadStore, library: Bare) -> list[Call]:
    return [lambda id, _: store.get(id), lambda id, _: library.get(id[::-1])]


async def added_by_the_driver(url: str) -> None:
    """Print what hashing, sealing and opening a claim take, beside a call of the store."""
    pool = Pool(parse_store_url(url))
    driver = EnvelopeDriver(pool, EnvelopeCodec(EnvelopeConfig(key=FakeKms())))
    writing, reading = StorageDriverStoreContext(), StorageDriverRetrieveContext()
    for name, size in SIZES.items():
        [payload] = await driver.codec.encode([Payload(data=os.urandom(size))])
        data, store = payload.SerializeToString(), pool.open_here().store
        seconds: list[list[float]] = [[], [], [], []]
        for _ in range(200):
            id, begun = os.urandom(16).hex(), time.perf_counter()
            claims = await driver.store(writing, [payload])
            moments = [begun, time.perf_counter()]
            await driver.retrieve(reading, claims)
            moments.append(time.perf_counter())
            await store.put(id, data)
            moments.append(time.perf_counter())
            await store.get(id)
            moments.append(time.perf_counter())
            for one, (begin, end) in zip(seconds, pairwise(moments), strict=True):
                one.append(end - begin)
        stored, retrieved, put, got = (median(one) * 1_000 for one in seconds)
        print(f"driver      {name}  adds {stored - put:.2f} ms to a put, {retrieved - got:.2f} ms to a get")
    await pool.aclose()


@contextmanager
def places(names: list[str]) -> Iterator[dict[str, str]]:
    """URLs of empty stores, on servers that are started for this."""
    with ExitStack() as stack:
        stack.enter_context(aws_environment())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        harnesses: dict[str, Callable[[], Any]] = {
            "file": lambda: Files(folder),
            "sqlite": lambda: Sqlite(folder),
            "postgresql": lambda: Postgres(stack.enter_context(PostgresServer())),
            "redis": lambda: Valkey(stack.enter_context(ValkeyServer())),
            "mongodb": lambda: Mongo(stack.enter_context(MongoServer())),
            "s3": lambda: S3(stack.enter_context(LocalStack())),
        }
        if "mariadb" in SERVED:
            harnesses["mariadb"] = lambda: MariaDb(stack.enter_context(MariaDbServer()))
        yield {name: asyncio.run(harnesses[name]().place()) for name in names or harnesses}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="append", default=[], help="one store only; may be given again")
    parser.add_argument("--check", action="store_true", help="fail if a bar is exceeded")
    arguments = parser.parse_args()
    over: list[str] = []
    with places(arguments.store) as urls:
        print(f"{'':24}this library                  its client library            time")
        for kind, url in urls.items():
            over += asyncio.run(compare(kind, url))
        first = next(iter(urls.values()))
        asyncio.run(added_by_the_driver(first))
        for kind, url in urls.items():
            over += print_memory(kind, url)
    for text in over:
        print(f"over its bar: {text}")
    return int(bool(over) and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
