"""How much memory a worker takes at most for payloads of 20 MB, as a multiple of their size.

The worker is a process of its own. Its resident memory is read before and at the peak (Linux alone tells). glibc is
told to give large blocks back to the system when they are freed; else they stay in its heap, and the figure tells of
that.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from devstack import TemporalServer
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

from envelope_codec import EnvelopePlugin
from envelope_codec.cli.keygen import create_key_file, key_uri

SIZE = 20 * 2**20
BAR = 4.1  # 4 copies, and what else a task needs
_TIMEOUT = timedelta(seconds=60)
_QUEUE = "memory"


@workflow.defn(sandboxed=False)
class Take:
    @workflow.run
    async def run(self, data: bytes) -> int:
        return len(data)


@workflow.defn(sandboxed=False)
class Give:
    @workflow.run
    async def run(self, size: int) -> bytes:
        return bytes(size)


@activity.defn
async def take(data: bytes) -> int:
    return len(data)


@activity.defn
async def give(size: int) -> bytes:
    return b"x" * size


def print_memory(kind: str, url: str) -> list[str]:
    """Print the figures of one store; what is over its bar."""
    if not Path("/proc/self/clear_refs").exists():
        print(f"{kind:11} memory: not measured, for want of /proc")
        return []
    with TemporalServer(db=False) as temporal, tempfile.TemporaryDirectory() as folder:
        create_key_file(Path(folder) / "key.json")
        key = key_uri(Path(folder) / "key.json")
        command = [sys.executable, __file__, temporal.address, key, url]
        paths = os.pathsep.join(sys.path)
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20), "PYTHONPATH": paths}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            stdin, stdout = process.stdin, process.stdout

            def ask(question: str) -> int:
                print(question, file=stdin, flush=True)
                return int(stdout.readline())

            assert stdout.readline() == "ready\n"
            found = asyncio.run(_peaks(temporal.address, key, url, ask))
            process.kill()
    print(f"{kind:11} memory, in copies of 20 MiB: " + ", ".join(f"{what} {peak:.2f}" for what, peak in found.items()))
    return [f"{kind} memory, {what}: {peak:.2f}" for what, peak in found.items() if peak > BAR]


async def _peaks(address: str, key: str, url: str, ask: Callable[[str], int]) -> dict[str, float]:
    found: dict[str, float] = {}
    with EnvelopePlugin(key, storage=url, storage_threshold=0, startup_jitter=0) as plugin:
        client = await Client.connect(address, plugins=[plugin])
        runs = 0

        async def run(what: str, size: int) -> None:
            nonlocal runs
            runs += 1
            argument = bytes(size) if what.endswith("input") else size
            if what.startswith("workflow"):
                name = "Take" if what.endswith("input") else "Give"
                await client.execute_workflow(name, argument, id=f"{runs}", task_queue=_QUEUE)
            else:
                name = "take" if what.endswith("input") else "give"
                await client.execute_activity(
                    name, argument, id=f"{runs}", task_queue=_QUEUE, start_to_close_timeout=_TIMEOUT
                )

        for what in ("workflow input", "workflow result", "activity input", "activity result"):
            for size in (1_000, SIZE):  # once for what is kept anyway, such as buffers
                await run(what, size)
            before = ask("begin")
            await run(what, SIZE)
            found[what] = (ask("peak") - before) / SIZE
    return found


async def _work(address: str, key: str, url: str) -> None:
    with EnvelopePlugin(key, storage=url, storage_threshold=0, startup_jitter=0) as plugin:
        client = await Client.connect(address, plugins=[plugin])
        async with Worker(client, task_queue=_QUEUE, workflows=[Take, Give], activities=[take, give]):
            print("ready", flush=True)
            while question := (await asyncio.to_thread(sys.stdin.readline)).strip():
                if question == "begin":
                    await asyncio.sleep(0.5)  # the last task's memory is let go
                    Path("/proc/self/clear_refs").write_text("5")  # noqa: ASYNC240
                print(_resident("VmRSS:" if question == "begin" else "VmHWM:"), flush=True)


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1_024 for line in lines if line.startswith(name))


if __name__ == "__main__":
    asyncio.run(_work(*sys.argv[1:]))
