"""A worker with the plugin, whose metrics are served, and which forks or has a wrong time when it is told to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from envelope_codec import EnvelopeConfig, EnvelopePlugin
from envelope_codec.metrics import TemporalMetrics
from tests.soak import wall_clock
from tests.soak.activities import Activities
from tests.soak.command import address, connect, end_of, listen, log_to_stderr, parser, sabotaged, sentinel
from tests.soak.header import Header
from tests.soak.journal import Journal
from tests.soak.workflows import WORKFLOWS
from tests.support.forked_child import in_child

FORKS = "forks.jsonl"
_AT_ONCE = 16  # activities
_CACHED = 40
"""Workflows that the worker has at hand. So few that some are replayed all the time."""


async def _serve(folder: Path, name: str, port: int) -> None:
    runtime = Runtime(telemetry=TelemetryConfig(metrics=PrometheusConfig(bind_address=f"127.0.0.1:{port}")))
    config = EnvelopeConfig.from_file(folder / "settings.toml")
    end = end_of(asyncio.get_running_loop())
    with EnvelopePlugin(config, observer=TemporalMetrics(runtime.metric_meter)) as plugin:
        client = await connect(address(folder), runtime=runtime, plugins=[plugin])
        codec = client.data_converter.payload_codec
        assert codec is not None
        listen(folder / name, lambda order: _obey(order, codec, Journal(folder / FORKS), name))
        done = Activities(folder, name, os.getpid(), twice=sabotaged("twice"))
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            worker = Worker(
                client,
                task_queue="soak",
                workflows=WORKFLOWS,
                activities=[
                    *(done.stamp, done.stamp_in_thread, done.grow, done.shrink),
                    *(done.read_header, done.fail, done.beat),
                ],
                activity_executor=threads,
                interceptors=[Header()],
                max_cached_workflows=_CACHED,
                max_concurrent_activities=_AT_ONCE,
                sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
                graceful_shutdown_timeout=timedelta(seconds=3),
                workflow_runner=SandboxedWorkflowRunner(
                    restrictions=SandboxRestrictions.default.with_passthrough_modules("tests.soak")
                ),
            )
            wasting = asyncio.ensure_future(_waste()) if sabotaged("leak") else None
            running = asyncio.ensure_future(worker.run())
            ending = asyncio.ensure_future(end.wait())
            await asyncio.wait([running, ending], return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                await worker.shutdown()
            ending.cancel()
            if wasting is not None:
                wasting.cancel()
            await running


def _obey(order: dict[str, Any], codec: PayloadCodec, forks: Journal, name: str) -> None:
    if "skew" in order:
        wall_clock.skew(order["skew"])
    if "fork" in order:
        payload = Payload(metadata={"encoding": b"json/plain"}, data=f'"{sentinel()}"'.encode())
        try:
            right = in_child(lambda: _run(_there_and_back(codec, payload)))
            forks.write(worker=name, right=right, error="")
        except AssertionError as error:
            forks.write(worker=name, right=False, error=str(error).replace(sentinel(), "(content)"))


def _run(work: Coroutine[Any, Any, bool]) -> bool:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


async def _there_and_back(codec: PayloadCodec, payload: Payload) -> bool:
    [sealed] = await codec.encode([payload])
    opened = await codec.decode([sealed])
    return sealed.data != payload.data and list(opened) == [payload]


async def _waste() -> None:
    """Use more and more of everything."""
    kept: list[Any] = []
    while True:
        kept.append((bytearray(os.urandom(2**20)), os.open(os.devnull, os.O_RDONLY)))
        await asyncio.sleep(0.5)


def main() -> None:
    options = parser()
    options.add_argument("--metrics", type=int, required=True)
    chosen = options.parse_args()
    log_to_stderr()
    asyncio.run(_serve(chosen.folder, chosen.name, chosen.metrics))
