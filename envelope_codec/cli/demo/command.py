"""``envelope-codec demo``: encrypt a workflow end to end, on real servers, and look at what Temporal stored."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from google.protobuf.message import Message
from temporalio.api.history.v1 import History
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import TemporalError
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from envelope_codec.cli.demo.counts import Counts
from envelope_codec.cli.demo.report import Report
from envelope_codec.cli.demo.running import explain, keep_logs, run_until_signal
from envelope_codec.cli.demo.search import Needles
from envelope_codec.cli.demo.servers import SERVERS, Kms, NoCheckout, load_devstack, start
from envelope_codec.cli.demo.workflow import REGISTERS, Customer, OpenAccount, look_up
from envelope_codec.envelope import parse
from envelope_codec.errors import EnvelopeError
from envelope_codec.plugin import EnvelopePlugin
from envelope_codec.temporal.payload_walk import payloads_in

_TASK_QUEUE = "demo"
_TIMEOUT = 120.0  # seconds for the whole workflow


def demo(
    kms: Annotated[Kms, typer.Option(help="The KMS that has the master key.")] = Kms.local,
    without_plugin: Annotated[bool, typer.Option("--without-plugin", hidden=True)] = False,
    history: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Encrypt a workflow end to end, and see what Temporal stored.

    It starts real servers, and stops them when it is done. It needs a source checkout.

    Exit status: 0 if no plaintext was found; 1 if some was; 2 if the demo could not run.
    """
    log = keep_logs()
    try:
        status = asyncio.run(run_until_signal(_demo(kms, without_plugin, history)))
    except ModuleNotFoundError:
        status = explain(f'it needs packages: pip install "temporal-envelope-codec[cli,{kms.value}]"', log)
    except asyncio.TimeoutError:
        status = explain(f"the workflow did not end within {_TIMEOUT:g} s", log)
    except (NoCheckout, EnvelopeError, TemporalError, RPCError, RuntimeError) as error:
        status = explain(str(error), log)
    raise typer.Exit(status)


async def _demo(kms: Kms, without_plugin: bool, saved_history: Path | None) -> int:
    servers, report, customer, counts = load_devstack(), Report(), Customer.invent(), Counts()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="envelope-demo-")))
        plugins = []
        if not without_plugin:
            uri = await _create_key(kms, folder, servers, report, stack)
            plugins.append(stack.enter_context(EnvelopePlugin(uri, observer=counts, startup_jitter=0)))
        temporal = servers.TemporalServer()
        with report.step("Temporal dev server") as remark:
            await start(temporal, stack)
            remark(temporal.address)
        runtime = Runtime(telemetry=TelemetryConfig(logging=None))
        with report.step("worker and workflow") as remark:
            client = await Client.connect(temporal.address, plugins=plugins, runtime=runtime)
            handle, result = await asyncio.wait_for(_run(client, customer), _TIMEOUT)
            remark(f"workflows: 1, activities: {REGISTERS}")
        with report.step("histories, fetched raw") as remark:
            plain = await Client.connect(temporal.address, runtime=runtime)
            histories = await _fetch_histories(plain, handle)
            remark(f"histories: {len(histories)}, events: {sum(len(one.events) for one in histories)}")
        if saved_history:
            await asyncio.to_thread(saved_history.write_bytes, histories[0].SerializeToString())

        report.print_workflow(customer, result)
        stored = histories[0].events[0].workflow_execution_started_event_attributes.input.payloads[0]
        report.print_stored(stored)
        envelope = parse(stored.metadata, stored.data)
        if envelope is not None:
            report.print_header(envelope.record)
            report.print_calls(counts.copy())
        needles = Needles(customer.secrets)
        return _search(needles, histories, temporal.db_path, report)


async def _create_key(kms: Kms, folder: Path, servers: Any, report: Report, stack: AsyncExitStack) -> str:
    """Start the KMS, make a master key in it, and return the key URI."""
    chosen, server = SERVERS[kms], None
    if chosen.server is not None:
        server = getattr(servers, chosen.server)()
        with report.step(chosen.title) as remark:
            await start(server, stack)
            remark(getattr(server, "address", None) or server.endpoint)
    with report.step("master key") as remark:
        uri = await asyncio.to_thread(chosen.create_key, server, folder)
        remark(uri)
    return uri


async def _run(client: Client, customer: Customer) -> tuple[WorkflowHandle[Any, str], str]:
    # Without the plugin the sandbox would import all of this package anew for the workflow.
    runner: WorkflowRunner = SandboxedWorkflowRunner() if client.config()["plugins"] else UnsandboxedWorkflowRunner()
    async with Worker(
        client, task_queue=_TASK_QUEUE, workflows=[OpenAccount], activities=[look_up], workflow_runner=runner
    ):
        handle = await client.start_workflow(
            OpenAccount.run, customer, id=f"open-account-{uuid.uuid4()}", task_queue=_TASK_QUEUE
        )
        return handle, await handle.result()


async def _fetch_histories(plain: Client, handle: WorkflowHandle[Any, str]) -> list[History]:
    """Fetch every history of the namespace. The one of ``handle`` comes first."""
    ids = [handle.id, *[execution.id async for execution in plain.list_workflows() if execution.id != handle.id]]
    histories = []
    for workflow_id in ids:
        fetched = await plain.get_workflow_handle(workflow_id).fetch_history()
        histories.append(History(events=fetched.events))
    return histories


def _search(needles: Needles, histories: list[History], database: Path, report: Report) -> int:
    """Search for plaintext, report what was found, and return the exit status: 0 if there is none."""
    payloads = [payload for history in histories for payload in payloads_in(history)]

    def find_in(messages: Iterable[Message]) -> set[str]:
        return set().union(*(needles.find_in(message.SerializeToString()) for message in messages))

    places = {
        f"stored payloads ({len(payloads)})": find_in(payloads),
        f"stored histories ({len(histories)})": find_in(histories),
        "the server's database": needles.find_in_database(database),
    }
    report.print_search(places)
    clean = not any(places.values())
    report.print_verdict(clean)
    return 0 if clean else 1
