"""Temporal's own command with a codec server: what it sends is sealed, what it prints is decoded, or not allowed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from devstack import TemporalServer
from localserver import find_program
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from envelope_codec import EnvelopeConfig
from envelope_codec.envelope import parse
from envelope_codec.server import ServerConfig
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.temporal.payload_walk import payloads_in
from envelope_codec.testing import FakeKms
from tests.support import readable_workflows as workflows
from tests.support.certificates import write_certificate
from tests.support.codec_server import CodecServer, serving
from tests.support.server_records import events, query_result, register
from tests.support.token_issuer import Issuer, issuing

RULES = [
    {"claims": {"groups": "support"}, "namespaces": "default", "verbs": ["decode", "encode"]},
    {"claims": {"groups": "billing"}, "namespaces": "billing", "verbs": ["decode", "encode"]},
]


class Said(NamedTuple):
    """What the command said, and its exit status."""

    status: int
    out: str
    error: str


@pytest.fixture(scope="module")
def key() -> FakeKms:
    return FakeKms()


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


@pytest.fixture
def codec(key: FakeKms, tmp_path: Path) -> Iterator[CodecServer]:
    with serving(EnvelopeConfig(key=key), ServerConfig(audit_file=str(tmp_path / "audit"))) as running:
        yield running


@pytest.fixture
def guarded(key: FakeKms, issuer: Issuer, tmp_path: Path) -> Iterator[CodecServer]:
    settings = ServerConfig(auth=[issuer.settings], rules=RULES, audit_file=str(tmp_path / "audit"))
    with serving(EnvelopeConfig(key=key), settings) as running:
        yield running


@pytest.fixture
async def worker(connect: Any, key: FakeKms, name: str) -> AsyncIterator[Worker]:
    """One that knows nothing but envelopes."""
    client, _ = await connect(key, require_encryption=True)
    async with Worker(
        client,
        task_queue=name,
        workflows=[workflows.Ledger, workflows.Overdrawn],
        activities=[workflows.book],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ) as running:
        yield running


class Temporal:
    """The command ``temporal workflow``, for one server."""

    def __init__(self, address: str) -> None:
        program = find_program("temporal")
        assert program is not None
        self._program = program
        self._address = address

    async def __call__(self, *arguments: str) -> Said:
        """What it says. Nothing of the surroundings is read."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}
        running = await asyncio.create_subprocess_exec(
            *(self._program, "workflow", *arguments, "--address", self._address, "--disable-config-file"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        out, error = await asyncio.wait_for(running.communicate(), 60)
        return Said(running.returncode or 0, out.decode(), error.decode())


@pytest.fixture
def temporal(temporal_server: TemporalServer) -> Temporal:
    return Temporal(temporal_server.address)


def starting(workflow: str, workflow_id: str, *, queue: str) -> list[str]:
    return [
        "--type",
        workflow,
        "--workflow-id",
        workflow_id,
        "--task-queue",
        queue,
        "--input",
        f'"{workflows.INPUT}"',
    ]


async def read(temporal: Temporal, workflow_id: str, *codec: str) -> str:
    """The history that it prints as JSON, with what payloads hold as text."""
    shown = await temporal("show", "--workflow-id", workflow_id, "--output", "json", *codec)
    assert shown.status == 0, shown.error
    return "\n".join(
        payload.data.decode("utf-8", "replace")
        for event in WorkflowHistory.from_json(workflow_id, shown.out).events
        for payload in payloads_in(event)
    )


async def input_of(plain: Client, workflow_id: str) -> Payload:
    """As Temporal has it."""
    first, *_ = await events(plain, workflow_id)
    [payload] = first.workflow_execution_started_event_attributes.input.payloads
    return payload


async def test_what_it_starts_is_sealed_and_what_it_shows_is_decoded(
    temporal: Temporal, codec: CodecServer, worker: Worker, plain: Client, name: str
) -> None:
    endpoint = ["--codec-endpoint", codec.url]
    executed = await temporal("execute", *starting("Ledger", name, queue=name), *endpoint, "--output", "json")
    assert executed.status == 0, executed.error
    assert json.loads(executed.out)["result"] == workflows.RESULT
    assert is_envelope(await input_of(plain, name))

    shown = await temporal("show", "--workflow-id", name, *endpoint)
    assert (shown.status, workflows.RESULT in shown.out) == (0, True), shown
    history = await read(temporal, name, *endpoint)
    assert all(text in history for text in (workflows.INPUT, workflows.BOOKED, workflows.RESULT))
    assert {(line["verb"], line["namespace"], line["status"]) for line in codec.lines()} == {
        ("encode", "default", 200),
        ("decode", "default", 200),
    }

    without = await read(temporal, name)
    assert without
    assert "marigold" not in without


async def test_why_a_workflow_failed_is_decoded(
    temporal: Temporal, codec: CodecServer, worker: Worker, name: str
) -> None:
    endpoint = ["--codec-endpoint", codec.url]
    executed = await temporal("execute", *starting("Overdrawn", name, queue=name), *endpoint)
    # What it prints for people has the failure's message as Temporal has it: the codec server decodes payloads, and it
    # makes no failure of them. The payload is in the history.
    assert (executed.status, "Encoded failure" in executed.out) == (1, True)
    history = await read(temporal, name, *endpoint)
    assert all(text in history for text in (workflows.MESSAGE, workflows.DETAIL, "refuse_marigold"))
    assert "marigold" not in await read(temporal, name)


async def test_a_question_is_sealed_and_its_answer_decoded(
    temporal: Temporal, codec: CodecServer, worker: Worker, plain: Client, name: str
) -> None:
    endpoint = ["--codec-endpoint", codec.url]
    started = await temporal("start", *starting("Ledger", name, queue=name), *endpoint)
    assert started.status == 0, started.error
    asking = ["query", "--workflow-id", name, "--type", "told", "--input", '"marigold-question"']
    answered = await temporal(*asking, *endpoint)
    assert f"{workflows.ANSWER} to marigold-question" in answered.out, answered
    assert [line["sealed"] for line in codec.lines() if line["verb"] == "encode"] == [1, 1]
    # The worker takes nothing but envelopes, and so the question came as one; as one the answer travels.
    refused = await temporal(*asking)
    assert refused.status != 0
    assert is_envelope(await query_result(plain, name, "told", await input_of(plain, name)))


async def test_a_token_opens_what_it_is_for(
    temporal: Temporal, guarded: CodecServer, issuer: Issuer, worker: Worker, plain: Client, name: str
) -> None:
    def access(*groups: str) -> list[str]:
        bearer = f"Bearer {issuer.token(groups=list(groups))}"
        return ["--codec-endpoint", f"{guarded.url}/{{namespace}}", "--codec-auth", bearer]

    executed = await temporal("execute", *starting("Ledger", name, queue=name), *access("support"))
    assert executed.status == 0, executed.error
    assert workflows.RESULT in executed.out
    assert workflows.INPUT in await read(temporal, name, *access("support"))
    assert {(line["subject"], line["namespace"], line["status"]) for line in guarded.lines()} == {
        ("ada", "default", 200)
    }

    before = len(guarded.lines())
    forged = [*access()[:2], "--codec-auth", "Bearer x.y.z"]
    # At once, since it tries again, each of them, for some seconds.
    refused = await asyncio.gather(
        temporal("show", "--workflow-id", name, "--output", "json", *access("billing")),
        temporal("show", "--workflow-id", name, "--output", "json", *forged),
        temporal("start", *starting("Ledger", f"{name}-2", queue=name), *access("billing")),
    )
    assert all(said.status != 0 and "marigold" not in said.out + said.error for said in refused)
    found = {(line["verb"], line["subject"], line["status"]) for line in guarded.lines()[before:]}
    assert found == {("decode", "ada", 403), ("decode", "", 401), ("encode", "ada", 403)}
    assert not [execution async for execution in plain.list_workflows(f"WorkflowId = '{name}-2'")]


@pytest.mark.parametrize("endpoint", ["/{namespace}", "/{namespace}/", "/"])
async def test_it_says_for_which_namespace_it_asks(
    temporal: Temporal, codec: CodecServer, plain: Client, name: str, endpoint: str
) -> None:
    await register(plain, name)
    started = await temporal(
        *("start", "-n", name, *starting("Ledger", name, queue=name), "--codec-endpoint", codec.url + endpoint)
    )
    assert started.status == 0, started.error
    [line] = codec.lines()
    assert (line["verb"], line["namespace"], line["sealed"]) == ("encode", name, 1)
    there = await Client.connect(plain.service_client.config.target_host, namespace=name)
    sealed = await input_of(there, name)
    envelope = parse(sealed.metadata, sealed.data)
    assert envelope is not None
    assert envelope.record.namespace == name


async def test_a_refusal_looks_like_no_answer_whatever_it_is(
    temporal: Temporal, key: FakeKms, issuer: Issuer, worker: Worker, codec: CodecServer, name: str, tmp_path: Path
) -> None:
    """What docs/codec-server.md says that a person sees."""
    executed = await temporal("execute", *starting("Ledger", name, queue=name), "--codec-endpoint", codec.url)
    assert executed.status == 0, executed.error
    auth: dict[str, Any] = {"auth": [issuer.settings], "rules": RULES}
    write_certificate(tmp_path / "cert", tmp_path / "key")
    tls = {"tls_cert": str(tmp_path / "cert"), "tls_key": str(tmp_path / "key")}
    with ExitStack() as servers:

        def at(*bodies: bytes, **settings: Any) -> list[str]:
            keys = EnvelopeConfig(key=key, timeout=0.1)
            running = servers.enter_context(serving(keys, ServerConfig(**settings), verify=False))
            for body in bodies:
                running.post("/decode", body)
            return ["--codec-endpoint", running.url]

        billing = ["--codec-auth", f"Bearer {issuer.token(groups=['billing'])}"]
        endpoints = {
            "401": at(**auth),
            "403": [*at(**auth), *billing],
            "413": at(body_limit=100),
            "429": at(b"{}", rate_limit="1/day"),  # the one that there may be
            "503": at(request_timeout=1),
            "certificate": at(**tls),
            "down": ["--codec-endpoint", "http://127.0.0.1:9"],
        }
        key.down = True
        # All at once, since each tries again for some seconds.
        said = await asyncio.gather(
            *(temporal("show", "--workflow-id", name, *endpoint) for endpoint in endpoints.values()),
            temporal("start", *starting("Ledger", f"{name}-2", queue=name), *endpoints["401"]),
        )
    key.down = False
    for case, found in zip([*endpoints, "start"], said, strict=True):
        assert (found.status, "context deadline exceeded" in found.error) == (1, True), (case, found)
        assert "marigold" not in found.out + found.error
