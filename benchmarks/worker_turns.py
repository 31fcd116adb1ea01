"""The workers of the benchmark, one process for each variant, and turns of work for them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from devstack import TemporalServer
from temporalio.client import Client

from benchmarks.worker_usage import cpu_of_group
from benchmarks.worker_variants import connecting
from benchmarks.worker_workflow import ACTIVITIES, Orders

AT_ONCE = 8
_PATIENT = timedelta(minutes=1)  # no task is to be done twice, on a busy machine or under valgrind
_PROCESS = Path(__file__).with_name("worker_process.py")


@dataclass(frozen=True)
class Turn:
    """What some workflows took, for each of them. Attributes are those of the rows of `benchmarks/worker.py`."""

    cpu: float
    server_cpu: float
    wire: float
    history_bytes: float
    history_rows: float
    rate: float
    memory: float


class WorkerProcess:
    """One worker, and a client with the same variant that starts workflows for it."""

    def __init__(
        self, variant: str, client: Client, process: asyncio.subprocess.Process, server: TemporalServer
    ) -> None:
        self._variant = variant
        self._client = client
        self._process = process
        self._server = server

    @property
    def pid(self) -> int:
        return self._process.pid

    async def turn(self, orders: Sequence[dict[str, Any]], count: int) -> Turn:
        """Run ``count`` workflows, some at once, and tell what they took."""
        await self.ask("begin")
        server_cpu, begun = cpu_of_group(self._server.pid), time.perf_counter()
        runs = await self.run(orders, count)
        seconds, server_cpu = time.perf_counter() - begun, cpu_of_group(self._server.pid) - server_cpu
        used = json.loads(await self.ask("end"))
        rows, size = _stored(self._server, runs)
        return Turn(
            cpu=used["cpu"] / count,
            server_cpu=server_cpu / count,
            wire=(used["sent"] + used["received"]) / count,
            history_bytes=size / count,
            history_rows=rows / count,
            rate=count / seconds,
            memory=used["memory"],
        )

    async def run(self, orders: Sequence[dict[str, Any]], count: int, at_once: int = AT_ONCE) -> list[str]:
        """Run ``count`` workflows, and return their run ids."""
        room = asyncio.Semaphore(at_once)

        async def one(order: dict[str, Any]) -> str:
            async with room:
                handle = await self._client.start_workflow(
                    Orders.run, order, id=uuid.uuid4().hex, task_queue=self._variant, task_timeout=_PATIENT
                )
                last = await handle.result()
            if last != (order["number"] + ACTIVITIES) % len(orders):
                raise RuntimeError(f"{self._variant}: {last} is not the number of the last order")
            return handle.result_run_id or ""

        return await asyncio.gather(*(one(orders[number % len(orders)]) for number in range(count)))

    async def ask(self, line: str) -> str:
        """Send ``line``, and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        return await self.answer()

    async def answer(self) -> str:
        """Return the next line that the process prints."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker {self._variant} has ended")
        return line.decode()


@asynccontextmanager
async def running(
    variant: str, server: TemporalServer, folder: Path, sizes: Sequence[int], under: Sequence[str] = ()
) -> AsyncIterator[WorkerProcess]:
    """Run the worker of a variant, which polls. It ends with the block.

    Args:
        under: a command that runs another, which is the worker's.
    """
    async with AsyncExitStack() as stack:
        client = await stack.enter_context(connecting(variant, folder))(server.address)
        process = await asyncio.create_subprocess_exec(
            *under,
            *(sys.executable, str(_PROCESS), variant, server.address, str(folder), *map(str, sizes)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        worker = WorkerProcess(variant, client, process, server)
        try:
            if await worker.answer() != "ready\n":
                raise RuntimeError(f"the worker {variant} did not start")
            yield worker
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), 60)
            except asyncio.TimeoutError:
                process.kill()
                await process.wait()


def _stored(server: TemporalServer, runs: Sequence[str]) -> tuple[int, int]:
    """Return how many rows of histories the server has for these runs, and how many bytes of events are in them."""
    ids = [uuid.UUID(run).bytes for run in runs]
    with closing(sqlite3.connect(f"file:{server.db_path}?mode=ro", uri=True, timeout=30)) as database:
        rows, size = database.execute(
            f"SELECT count(*), sum(length(data)) FROM history_node WHERE tree_id IN ({', '.join('?' * len(ids))})", ids
        ).fetchone()
    return rows, size or 0
