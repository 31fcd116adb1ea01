"""``envelope-codec inspect`` reads what Temporal's own command prints of a history on a real server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

from devstack import TemporalServer
from localserver import find_program
from temporalio.client import Client
from temporalio.worker import Worker

from envelope_codec.cli.inspection.document import json_values
from envelope_codec.cli.inspection.inventory import Inventory
from envelope_codec.cli.payloads.walk import locations_in
from envelope_codec.envelope import parse
from envelope_codec.testing import FakeKms
from tests.support.server_records import run
from tests.support.small_workflows import PATIENT, Hello


async def shown(server: TemporalServer, *arguments: str) -> str:
    """What ``temporal workflow`` prints."""
    program = find_program("temporal")
    assert program is not None
    return await output([program, "workflow", *arguments, "--address", server.address])


async def inspected(document: str, *options: str) -> str:
    return await output([sys.executable, "-m", "envelope_codec.cli", "inspect", *options], document)


async def output(command: list[str], given: str | None = None) -> str:
    done = await asyncio.to_thread(
        subprocess.run, command, input=given, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return str(done.stdout)


async def test_it_reads_what_temporals_own_command_prints(
    temporal_server: TemporalServer, connect: Any, plain: Client, kms: FakeKms, name: str
) -> None:
    sealing, _ = await connect(kms, context={"tenant": "marigold"})
    for client, kind in ((sealing, "sealed"), (plain, "plain")):
        async with Worker(client, task_queue=f"{name} {kind}", workflows=[Hello]):
            result = await client.execute_workflow(
                Hello.run,
                "Ada",
                id=f"{name} {kind}",
                task_queue=f"{name} {kind}",
                memo={"note": "for later"},
                execution_timeout=PATIENT,
            )
            assert result == "Hello, Ada!"
    stored = (await run(plain, f"{name} sealed")).history.events[0].workflow_execution_started_event_attributes
    envelope = parse(stored.input.payloads[0].metadata, stored.input.payloads[0].data)
    assert envelope is not None

    history, lines, clear = await asyncio.gather(
        shown(temporal_server, "show", "-w", f"{name} sealed", "-o", "json"),
        shown(temporal_server, "show", "-w", f"{name} sealed", "-o", "jsonl"),
        shown(temporal_server, "describe", "-w", f"{name} plain", "-o", "json"),
    )
    document = json.loads(await inspected(history, "--json"))
    assert taken_stock_of(lines).document() == document
    started = "events[0].workflowExecutionStartedEventAttributes"
    sealed = {one["place"]: one for one in document["payloads"] if one["kind"] == "envelope"}
    assert {f"{started}.input.payloads[0]", f"{started}.memo.fields.note"} < sealed.keys()
    assert any(place.endswith(".workflowExecutionCompletedEventAttributes.result.payloads[0]") for place in sealed)
    assert sealed[f"{started}.input.payloads[0]"]["data_bytes"] == len(envelope.data)
    (record,) = document["records"]
    assert record["id"] == envelope.record.id.hex()
    assert record["context"] == {"temporal-namespace": "default", "tenant": "marigold"}
    assert record["recipients"] == [
        {"key_id": kms.key_id, "key_version": "1", "ciphertext_bytes": len(envelope.record.recipients[0].ciphertext)}
    ]
    summary = document["summary"]
    assert (summary["envelopes"], summary["clear"], summary["malformed"]) == (len(sealed), 0, 0)
    assert document["failures_in_clear"] == []

    # Printed as the values that they are, without metadata: the memo and, at the end, the result.
    summary = taken_stock_of(clear).document()["summary"]
    assert (summary["envelopes"], summary["clear_by_encoding"]) == (0, {"json/plain": 2})


def taken_stock_of(document: str) -> Inventory:
    return Inventory.of(locations_in(json_values(document.encode())))
