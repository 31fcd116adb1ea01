"""A distributed audit of the real server: a worker is killed half-way, and workflows come and go meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from temporalio.client import Client
from temporalio.service import RPCError

from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.plugin import EnvelopePlugin
from tests.support.server_records import eventually
from tests.support.worker_processes import ROOT, WorkerProcess, worker_processes

AT_ONCE = 32


class Outcome(NamedTuple):
    """What came of it.

    Attributes:
        distributed: the report of the distributed audit.
        local: that of the audit on one machine, of the same moment.
        killed: the pid of the worker that was killed, with a window under way.
        attempts: which attempt the killed worker's window was on, when it had been taken over.
        seconds: how long each audit took.
        moved: how many workflows have been started or ended meanwhile.
    """

    distributed: Any
    local: Any
    killed: int
    attempts: int
    seconds: tuple[float, float]
    moved: int


class Place:
    """A namespace of the server, a key, and a place for results.

    Args:
        address: of the server.
        namespace: the namespace.
        folder: for files.
    """

    def __init__(self, address: str, namespace: str, folder: Path) -> None:
        create_key_file(folder / "key.json")
        (folder / "results").mkdir()
        self.address, self.namespace, self.folder = address, namespace, folder
        self.config = folder / "envelope.toml"
        self.config.write_text(f'key = "{key_uri(folder / "key.json")}"\nstartup_jitter = 0\n')
        self.where = ["--address", address, "--namespace", namespace]
        self.shared = ["--config", str(self.config), "--results", f"file://{folder}/results"]

    async def connect(self, plugin: EnvelopePlugin) -> Client:
        return await Client.connect(self.address, namespace=self.namespace, plugins=[plugin])

    def plugin(self) -> EnvelopePlugin:
        return EnvelopePlugin(key_uri(self.folder / "key.json"), startup_jitter=0)


async def command(*arguments: str) -> tuple[int, str, str]:
    """Run ``envelope-codec`` in a process of its own. Return its exit status, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "envelope_codec.cli", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def make_workflows(client: Client, closed: int, running: int) -> None:
    """Start so many workflows, and end most of them."""

    async def make(number: int) -> None:
        id = f"w{number}"
        await client.start_workflow("Unserved", f"marigold {number}", id=id, task_queue="none")
        if number < closed:
            await client.get_workflow_handle(id).terminate()

    numbers = iter(range(closed + running))

    async def work() -> None:
        for number in numbers:
            await make(number)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


async def until_listed(client: Client, query: str, count: int) -> None:
    async def is_listed() -> bool:
        return (await client.count_workflows(query)).count >= count

    await eventually(is_listed, f"{count} workflows that meet {query!r}")


@asynccontextmanager
async def coming_and_going(client: Client, open_ones: int, pause: float = 0.2) -> AsyncIterator[list[str]]:
    """Start workflows, and end them and older ones, until the block ends. The list has what was done."""
    done: list[str] = []

    async def move() -> None:
        for number in range(10_000_000):
            id = f"meanwhile-{number}"
            await client.start_workflow("Unserved", "later", id=id, task_queue="none")
            done.append(id)
            older = f"w{number}" if number < open_ones else id
            with suppress(RPCError):
                await client.get_workflow_handle(older).terminate()
                done.append(older)
            await asyncio.sleep(pause)

    moving = asyncio.ensure_future(move())
    try:
        yield done
    finally:
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)


async def kill_half_way(client: Client, workflow_id: str, workers: Sequence[WorkerProcess]) -> tuple[int, int]:
    """Kill the worker that reads a window, once it has told what it has read of it.

    Return its pid, and on which attempt the window was when another worker had it.
    """
    pids = {worker.pid: worker for worker in workers}
    while True:
        for activity in await _pending(client, workflow_id):
            pid = int(activity.last_worker_identity.partition("@")[0] or 0)
            told = sum(len(one.data) for one in activity.heartbeat_details.payloads)
            if activity.activity_type.name == "envelope-codec.audit.read" and pid in pids and told > 1_000:
                pids[pid].kill()
                return pid, await _taken_over(client, workflow_id, activity.activity_id, pid)
        await asyncio.sleep(0.02)


async def _taken_over(client: Client, workflow_id: str, activity_id: str, pid: int) -> int:
    while True:
        pending = {one.activity_id: one for one in await _pending(client, workflow_id)}
        its = pending.get(activity_id)
        assert its is not None, "the window was done before the worker was killed"
        if its.attempt > 1 and not its.last_worker_identity.startswith(f"{pid}@"):
            return int(its.attempt)
        await asyncio.sleep(0.02)


async def _pending(client: Client, workflow_id: str) -> list[Any]:
    with suppress(RPCError):
        description = await client.get_workflow_handle(workflow_id).describe()
        return list(description.raw_description.pending_activities)
    return []


async def audit_meanwhile(place: Place, open_ones: int, *options: str) -> Outcome:
    """Audit with three workers, and then on one machine. The namespace has its workflows."""
    queue = f"audits-{os.getpid()}"
    on_queue = ["--task-queue", queue]
    workflow_id = f"envelope-codec.audit/{place.namespace}"
    asked = ["audit", "--distributed", *place.where, *place.shared, *on_queue, "--json", *options]
    with place.plugin() as plugin:
        client = await place.connect(plugin)
        with worker_processes(3, [*place.where, *place.shared, *on_queue], place.folder) as workers:
            async with coming_and_going(client, open_ones) as moved:
                begun = time.monotonic()
                audit = asyncio.ensure_future(command(*asked))
                killed, attempts = await kill_half_way(client, workflow_id, workers)
                status, printed, complained = await audit
                ended = time.monotonic()
            assert status == 0, complained
            assert [worker.stop() for worker in workers if worker.pid != killed] == [0, 0], "they end in good order"
    distributed = json.loads(printed)
    begun_locally = time.monotonic()
    status, printed, complained = await command(
        *("audit", *place.where, "--as-of", distributed["as_of"], "--json", "--wait", "0", "--rate", "2000")
    )
    assert status == 0, complained
    seconds = ended - begun, time.monotonic() - begun_locally
    return Outcome(distributed, json.loads(printed), killed, attempts, seconds, len(moved))
