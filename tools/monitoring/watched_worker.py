"""A worker with a load, which tells Prometheus its metrics: ``python -m tools.monitoring.watched_worker``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import uuid
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from envelope_codec import EnvelopePlugin
from envelope_codec.metrics import HISTOGRAM_BUCKETS, TemporalMetrics, watch

_LOOK = 0.2  # seconds from one look at the gauges to the next: leases are short here
_SOON = timedelta(seconds=5)


@activity.defn
async def repeat(text: str) -> str:
    """Return ``text``."""
    return text


@workflow.defn
class Repeat:
    """Has an activity return what it was given."""

    @workflow.run
    async def run(self, text: str) -> str:
        """Return ``text``."""
        return await workflow.execute_activity(repeat, text, start_to_close_timeout=_SOON)


async def _load(client: Client, queue: str, rate: float) -> None:
    """Begin so many workflows a second, whatever becomes of them."""
    running: set[asyncio.Task[None]] = set()
    for number in itertools.count():
        if len(running) < 100:  # in an outage those before still wait
            task = asyncio.create_task(_run_one(client, queue, number))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.sleep(1 / rate)


async def _run_one(client: Client, queue: str, number: int) -> None:
    with contextlib.suppress(Exception):  # the outage's
        await client.execute_workflow(
            Repeat.run, f"text {number}", id=uuid.uuid4().hex, task_queue=queue, execution_timeout=timedelta(seconds=60)
        )


async def _work(given: argparse.Namespace) -> None:
    watch.SECONDS = _LOOK
    config = PrometheusConfig(bind_address=given.metrics, histogram_bucket_overrides=HISTOGRAM_BUCKETS)
    runtime = Runtime(telemetry=TelemetryConfig(metrics=config))
    plugin = EnvelopePlugin(
        given.key,
        lease=given.lease,
        outage_grace=given.grace,
        timeout=1,
        activity_timeout=1,
        startup_jitter=0,
        observer=TemporalMetrics(runtime.metric_meter),
    )
    with plugin:
        client = await Client.connect(given.temporal, runtime=runtime, plugins=[plugin])
        queue = uuid.uuid4().hex
        async with Worker(
            client,
            task_queue=queue,
            workflows=[Repeat],
            activities=[repeat],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_cached_workflows=20,
        ):
            await _load(client, queue, given.rate)


def main() -> None:
    """Work until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--temporal", required=True, help="HOST:PORT of the Temporal server")
    parser.add_argument("--key", required=True, help="URI of the master key")
    parser.add_argument("--metrics", required=True, help="HOST:PORT of the metrics")
    parser.add_argument("--lease", type=float, required=True, help="seconds")
    parser.add_argument("--grace", type=float, required=True, help="seconds")
    parser.add_argument("--rate", type=float, default=3.0, help="workflows a second")
    asyncio.run(_work(parser.parse_args()))


if __name__ == "__main__":
    main()
