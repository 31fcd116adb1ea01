"""What gzip does to single gRPC messages of sealed payloads: fetched histories, and signals with many arguments."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from devstack import TemporalServer
from temporalio.client import Client, WorkflowHandle

from benchmarks.worker_usage import usage_of_this_process
from benchmarks.worker_variants import connecting

EVENTS = 2_000
_AT_ONCE = 50
_SIGNALS = 10

Message = Callable[[Client], Awaitable[object]]


class _Taken(NamedTuple):
    bytes: int
    milliseconds: float
    cpu_milliseconds: float


async def measure_messages(server: TemporalServer, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Return the rows called ``messages`` in `benchmarks/worker.py`. No worker takes part: the server keeps events."""
    with connecting("gzip", folder) as connect_gzip, connecting("sealed", folder) as connect_sealed:
        clients: dict[str, Client] = {
            "gzip": await connect_gzip(server.address),
            "sealed": await connect_sealed(server.address),
        }
        history = (await _long_history(clients["sealed"])).id
        small, large = [os.urandom(50).hex()] * 20, os.urandom(512).hex()
        sink = (await _start(clients["sealed"])).id
        messages: dict[str, Message] = {
            f"fetch of a history of {EVENTS:,} events": lambda client: client.get_workflow_handle(
                history
            ).fetch_history(),
            "ten signals with 20 payloads of 100 B": lambda client: _signal(client, sink, small),
            "ten signals with one payload of 1 KiB": lambda client: _signal(client, sink, [large]),
        }
        return [
            row for what, message in messages.items() for row in await _rows(what, message, clients, server, rounds)
        ]


async def _rows(
    what: str, message: Message, clients: dict[str, Client], server: TemporalServer, rounds: int
) -> list[dict[str, Any]]:
    taken: dict[str, list[_Taken]] = {variant: [] for variant in clients}
    for number in range(rounds + 1):
        for variant in clients if number % 2 else reversed(clients):
            one = await _take(clients[variant], message, server)
            if number:  # the first round opens keys
                taken[variant].append(one)
    return [
        {
            "what": what,
            "variant": variant,
            "bytes": round(median(one.bytes for one in each)),
            "milliseconds": _spread([one.milliseconds for one in each]),
            "cpu_milliseconds": _spread([one.cpu_milliseconds for one in each]),
        }
        for variant, each in taken.items()
    ]


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "low": min(values), "high": max(values)}


async def _take(client: Client, message: Message, server: TemporalServer) -> _Taken:
    before, begun = usage_of_this_process(server.address), time.perf_counter()
    await message(client)
    seconds, after = time.perf_counter() - begun, usage_of_this_process(server.address)
    size = after.sent - before.sent + after.received - before.received
    return _Taken(size, seconds * 1e3, (after.cpu - before.cpu) * 1e3)


async def _start(client: Client) -> WorkflowHandle[Any, Any]:
    name = uuid.uuid4().hex
    return await client.start_workflow("nobody runs it", id=name, task_queue=name)


async def _signal(client: Client, workflow_id: str, arguments: list[str]) -> None:
    """Send ten, so that what the connection itself sends now and then does not count much."""
    for _ in range(_SIGNALS):
        await client.get_workflow_handle(workflow_id).signal("heard", args=arguments)


async def _long_history(client: Client) -> WorkflowHandle[Any, Any]:
    """Make a history of `EVENTS`: it is started, a task is scheduled, and each signal of 100 B is an event."""
    handle = await _start(client)
    room = asyncio.Semaphore(_AT_ONCE)

    async def signal() -> None:
        async with room:
            await handle.signal("heard", os.urandom(50).hex())

    await asyncio.gather(*(signal() for _ in range(EVENTS - 2)))
    return handle
