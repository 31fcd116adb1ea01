"""How many payloads a store has over restarts, queries and new commands: as it is, and where each replay stores again.

A workflow has run 1,000 activities. Then a worker starts, which replays it, a query is answered, and a signal leads to
one command more; ten times, each time with another worker. Every payload is stored, whatever its size. The last column
is what the history refers to. All else in the store are orphans.
Run: ``python benchmarks/replay_storage.py [--commands N] [--restarts N] [--json FILE]``. It fails if there are orphans.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT / "localstack"), str(_ROOT)]

from devstack import TemporalServer  # noqa: E402 - found through the path above
from temporalio import activity, workflow  # noqa: E402
from temporalio.api.sdk.v1 import ExternalStorageReference  # noqa: E402
from temporalio.client import Client  # noqa: E402
from temporalio.worker import Worker  # noqa: E402

from envelope_codec import EnvelopePlugin  # noqa: E402
from envelope_codec.testing import FakeKms  # noqa: E402

AT_ONCE = 50
SECONDS = 300.0  # to wait for at most
_TIMEOUT = timedelta(seconds=60)
_REFERENCE = ExternalStorageReference.DESCRIPTOR.full_name.encode()
SIDES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "each replay stores again": {"storage_replay_memory": 0, "storage_query_threshold": 0},
}


@workflow.defn(sandboxed=False)
class Many:
    """Runs many activities, and one more for each signal."""

    def __init__(self) -> None:
        self._done = 0
        self._asked = 0

    @workflow.run
    async def run(self, commands: int) -> None:
        for begun in range(0, commands, AT_ONCE):
            await asyncio.gather(*(self._work() for _ in range(min(AT_ONCE, commands - begun))))
        while True:
            await workflow.wait_condition(lambda: self._asked > 0)
            self._asked -= 1
            await self._work()

    async def _work(self) -> None:
        await workflow.execute_activity("echo", self._done, start_to_close_timeout=_TIMEOUT)
        self._done += 1

    @workflow.signal
    def more(self) -> None:
        self._asked += 1

    @workflow.query
    def done(self) -> int:
        return self._done


@activity.defn
async def echo(number: int) -> int:
    return number


class Side:
    """One workflow, the store of its payloads, and what was counted."""

    def __init__(self, name: str, address: str, folder: Path, commands: int) -> None:
        self.name = name
        self.rows: list[dict[str, Any]] = []
        self._address = address
        self._folder = folder
        self._commands = commands
        self._settings = SIDES[name]
        self._kms = FakeKms()

    async def run(self, restarts: int) -> None:
        """Run the workflow, and restart its worker so often."""
        for restart in range(restarts + 1):
            begun = time.perf_counter()
            await self._work(restart)
            self._count(restart, time.perf_counter() - begun, await self._referenced())

    async def _work(self, restart: int) -> None:
        settings: Any = {"storage": f"file://{self._folder}", "storage_threshold": 0, **self._settings}
        with EnvelopePlugin(self._kms, startup_jitter=0, **settings) as plugin:
            client = await Client.connect(self._address, plugins=[plugin])
            async with Worker(client, task_queue=self.name, workflows=[Many], activities=[echo]):
                if restart:
                    handle = client.get_workflow_handle(self.name)
                    await _until(handle, self._commands + restart - 1)
                    await handle.signal(Many.more)
                else:
                    handle = await client.start_workflow(
                        Many.run, self._commands, id=self.name, task_queue=self.name, task_timeout=_TIMEOUT
                    )
                await _until(handle, self._commands + restart)

    async def _referenced(self) -> int:
        plain = await Client.connect(self._address)
        history = await plain.get_workflow_handle(self.name).fetch_history()
        return sum(event.SerializeToString().count(_REFERENCE) for event in history.events)

    def _count(self, restart: int, seconds: float, referenced: int) -> None:
        stored = sum(1 for _ in self._folder.glob("*/*"))
        self.rows.append(
            {"side": self.name, "restarts": restart, "stored": stored, "referenced": referenced, "seconds": seconds}
        )
        print(f"{self.name:26} {restart:8} {stored:8} {referenced:10} {seconds:8.1f}", flush=True)


async def _until(handle: Any, done: int) -> None:
    """Ask until so many activities are done."""
    deadline = time.monotonic() + SECONDS
    while await handle.query(Many.done) != done:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{done} activities were not done in {SECONDS:.0f} seconds")
        await asyncio.sleep(0.2)


async def measure(commands: int, restarts: int) -> list[dict[str, Any]]:
    """Count what both sides have stored, and print it."""
    rows: list[dict[str, Any]] = []
    print(f"{'':26} restarts   stored referenced  seconds")
    with TemporalServer(db=False) as temporal:
        for name in SIDES:
            with tempfile.TemporaryDirectory() as folder:
                side = Side(name, temporal.address, Path(folder), commands)
                await side.run(restarts)
                rows += side.rows
    return rows


def main() -> int:
    """Run as a command. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=1_000)
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    rows = asyncio.run(measure(options.commands, options.restarts))
    if options.json is not None:
        options.json.write_text(json.dumps({"name": "replay_storage", "rows": rows}, indent=1) + "\n")
    orphans = [row for row in rows if row["side"] == "as it is" and row["stored"] != row["referenced"]]
    for row in orphans:
        print(f"orphans after {row['restarts']} restarts: {row['stored'] - row['referenced']}", file=sys.stderr)
    return 1 if orphans else 0


if __name__ == "__main__":
    sys.exit(main())
