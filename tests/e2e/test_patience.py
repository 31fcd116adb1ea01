"""The KMS refuses for a moment, in which code ends that has run: it does not run again."""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.worker import SharedStateManager, UnsandboxedWorkflowRunner, Worker

from envelope_codec.testing import FakeKms
from tests.support.failing_codec import REFUSAL, Events, FailingKmsConnection, lapsed
from tests.support.finished_activities import ACTIVITIES, SECRET, Gate, Locally, Operate, Operations
from tests.support.server_records import events, eventually
from tests.support.small_workflows import Delegate

PROCESSES = " processes"
KINDS = {
    "an activity's result": "result",
    "an activity's failure": "failure",
    "a heartbeat": "heartbeat",
    "an activity in a thread": "in_a_pool",
    "an activity in a process": "in_a_pool",
    "a local activity": "",
    "a Nexus operation": "",
}


async def test_code_that_has_run_does_not_run_again(connect: Any, plain: Client, name: str, tmp_path: Path) -> None:
    """With everything that seals what code has left at once, for that saves time."""
    connections = [FailingKmsConnection(FakeKms()), FailingKmsConnection(FakeKms())]
    seen = Events()
    settings = {"backup_keys": connections[1:], "refusal_ttl": 0.2, "lease": 1, "outage_grace": 0}
    client, plugin = await connect(connections[0], observer=seen, **settings)
    endpoint = EndpointSpec(
        name=f"e{name}", target=EndpointTarget(worker=EndpointTarget.Worker(namespace="default", task_queue=name))
    )
    await plain.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=endpoint))
    gates: dict[str, Gate] = {}
    handles: dict[str, WorkflowHandle[Any, Any]] = {}
    for kind in KINDS:
        folder = tmp_path / kind
        folder.mkdir()
        gates[kind] = Gate(str(folder))
        gates[kind].make()

    async def start(kind: str, workflow: Any, *args: str) -> None:
        folder = str(tmp_path / kind)
        handles[kind] = await client.start_workflow(
            workflow, args=[*args, folder], id=f"{name} {kind}", task_queue=name, result_type=str
        )

    async with AsyncExitStack() as stack:
        context = multiprocessing.get_context("spawn")
        threads = stack.enter_context(ThreadPoolExecutor(4))
        processes = stack.enter_context(ProcessPoolExecutor(1, mp_context=context))
        shared = SharedStateManager.create_from_multiprocessing(stack.enter_context(context.Manager()), threads)
        for queue, executor in ((name, threads), (name + PROCESSES, processes)):
            await stack.enter_async_context(
                Worker(
                    client,
                    task_queue=queue,
                    workflows=[Delegate, Locally, Operate],
                    activities=ACTIVITIES,
                    activity_executor=executor,
                    shared_state_manager=shared,
                    nexus_service_handlers=[Operations()],
                    nexus_task_executor=threads,
                    workflow_runner=UnsandboxedWorkflowRunner(),
                )
            )
        for kind, activity in KINDS.items():
            if activity:
                await start(kind, Delegate.run, activity, name + (PROCESSES if "process" in kind else ""))
        await start("a local activity", Locally.run)

        async def all_run() -> bool:
            return all(gates[kind].runs for kind in handles)

        await eventually(all_run, "the code of all")
        await start("a Nexus operation", Operate.run, endpoint.name)  # last: it has ten seconds
        await eventually(all_run, "the code of all")
        for connection in connections:
            connection.fault = REFUSAL
        await lapsed(plugin)
        await asyncio.gather(*(asyncio.to_thread(gate.open) for gate in gates.values()))
        refused = [connection.refused for connection in connections]

        async def refused_often() -> bool:
            return all(
                connection.refused >= before + 6 for connection, before in zip(connections, refused, strict=True)
            )

        await eventually(refused_often, "refusals of both master keys")
        for connection in connections:
            connection.fault = None
        results = await asyncio.gather(*(handle.result() for handle in handles.values()), return_exceptions=True)
        outcomes = dict(zip(handles, results, strict=True))

    assert isinstance(outcomes.pop("an activity's failure"), WorkflowFailureError)
    assert outcomes == dict.fromkeys(outcomes, SECRET)
    assert {kind: gate.runs for kind, gate in gates.items()} == dict.fromkeys(KINDS, 1)
    assert seen.counts["seal", "KeyDenied"] == 0
    for handle in handles.values():
        for event in await events(plain, handle.id):
            if event.HasField("activity_task_started_event_attributes"):
                assert event.activity_task_started_event_attributes.attempt == 1
