"""Activities and an operation whose code has run when the KMS refuses: each says so, and waits to be let go on."""

from __future__ import annotations

import os
from pathlib import Path

import nexusrpc
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation
from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    import asyncio
    from datetime import timedelta

    from tests.support.small_workflows import AGAIN, PATIENT

SECRET = "hollyhock, in plain words"


class Gate:
    """A folder in which code that runs, in whatever process, leaves a line each time, and waits to go on."""

    def __init__(self, folder: str) -> None:
        self._ran = Path(folder, "ran")
        self._gate = Path(folder, "gate")

    def make(self) -> None:
        os.mkfifo(self._gate)

    def run(self) -> None:
        """As the code: leave a line, and wait at the first run."""
        with self._ran.open("a") as ran:
            ran.write("ran\n")
        if self.runs == 1:
            self._gate.read_text()

    def open(self) -> None:
        """Let go on what waits; waits for that itself."""
        self._gate.write_text("go on")

    @property
    def runs(self) -> int:
        return len(self._ran.read_text().splitlines()) if self._ran.exists() else 0


@activity.defn
async def result(folder: str) -> str:
    await asyncio.to_thread(Gate(folder).run)
    return SECRET


@activity.defn
async def failure(folder: str) -> str:
    await asyncio.to_thread(Gate(folder).run)
    raise ApplicationError(SECRET, non_retryable=True)


@activity.defn
async def heartbeat(folder: str) -> str:
    await asyncio.to_thread(Gate(folder).run)
    activity.heartbeat(SECRET)
    return SECRET


@activity.defn
def in_a_pool(folder: str) -> str:
    """In a thread or another process, as its worker has it."""
    Gate(folder).run()
    activity.heartbeat(SECRET)
    return SECRET


ACTIVITIES = [result, failure, heartbeat, in_a_pool]


@nexusrpc.service
class Service:
    operate: nexusrpc.Operation[str, str]


@service_handler(service=Service)
class Operations:
    @sync_operation
    async def operate(self, ctx: StartOperationContext, folder: str) -> str:
        await asyncio.to_thread(Gate(folder).run)
        return SECRET


@workflow.defn
class Locally:
    @workflow.run
    async def run(self, folder: str) -> str:
        return await workflow.execute_local_activity(
            result, folder, start_to_close_timeout=PATIENT, local_retry_threshold=PATIENT, retry_policy=AGAIN
        )


@workflow.defn
class Operate:
    @workflow.run
    async def run(self, endpoint: str, folder: str) -> str:
        client = workflow.create_nexus_client(service=Service, endpoint=endpoint)
        return await client.execute_operation(Service.operate, folder, schedule_to_close_timeout=timedelta(seconds=60))
