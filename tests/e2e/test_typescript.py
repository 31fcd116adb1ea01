"""A worker and a client in TypeScript, which ask a codec server, beside a client and a worker in Python."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest
from devstack import TemporalServer
from localserver import free_port
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.demo.search import Needles
from envelope_codec.server import ServerConfig
from envelope_codec.testing import FakeKms
from tests.e2e.conftest import Connect
from tests.support import typescript_example as typescript
from tests.support.codec_server import CodecServer, serving, until
from tests.support.greeting_workflow import PythonGreeting, welcome
from tests.support.server_records import events, eventually, pending_activity, result_of, run
from tests.support.token_issuer import issuing

SECRET = "Poppyseed the Ninth"
QUEUE = "typescript"
DOWN = "the codec server did not answer"


class Site(NamedTuple):
    """A worker in TypeScript, and what it has to do with.

    Attributes:
        kms: of all sides.
        codec: starts the codec server that programs in TypeScript ask.
        settings: the environment of these programs.
        folder: scratch.
        worker: its process.
    """

    kms: FakeKms
    codec: Callable[[], AbstractContextManager[CodecServer]]
    settings: dict[str, str]
    folder: Path
    worker: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def site(temporal_server: TemporalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    typescript.build()
    folder, kms, port = tmp_path_factory.mktemp("typescript"), FakeKms(), free_port()
    with issuing() as issuer:
        (folder / "token").write_text(issuer.token(sub="workers", exp=4_000_000_000))
        rules = [{"claims": {"sub": "workers"}, "namespaces": "default", "verbs": ["encode", "decode"]}]
        server = ServerConfig(auth=[issuer.settings], rules=rules, rate_limit="off", audit_file=str(folder / "audit"))
        settings = {
            "TEMPORAL_ADDRESS": temporal_server.address,
            "TASK_QUEUE": QUEUE,
            "CODEC_URL": f"http://127.0.0.1:{port}",
            "CODEC_TOKEN_FILE": str(folder / "token"),
            "CODEC_DEADLINE": "1000",
        }
        with typescript.working(folder / "log", **settings) as worker:
            yield Site(kms, lambda: serving(EnvelopeConfig(key=kms), server, port=port), settings, folder, worker)


async def assert_sealed(plain: Client, workflow_id: str) -> None:
    """Nothing of the secret is in what Temporal has of the workflow, whose payloads are there."""
    found = (await run(plain, workflow_id)).text()
    assert Needles([SECRET]).find_in(found) == set()
    assert b"binary/envelope-v1" in found


async def test_a_python_client_and_a_typescript_worker(site: Site, connect: Connect, plain: Client, name: str) -> None:
    client, _ = await connect(site.kms, require_encryption=True)
    with site.codec() as codec:
        greeted = await client.start_workflow(
            "Greeting", SECRET, id=name, task_queue=QUEUE, memo={"note": SECRET}, result_type=str
        )
        listening = await client.start_workflow("Listening", id=f"{name} told", task_queue=QUEUE, result_type=str)
        await listening.signal("tell", SECRET)
        refused = await client.start_workflow("Refusal", SECRET, id=f"{name} refused", task_queue=QUEUE)
        assert await result_of(greeted) == await result_of(listening) == f"Hello, {SECRET}!"
        with pytest.raises(WorkflowFailureError) as failed:
            await refused.result()
    assert isinstance(failed.value.cause, BaseException)
    told = failed.value.cause.__cause__
    assert isinstance(told, ApplicationError)
    assert (told.message, told.non_retryable) == (f"no greeting for {SECRET}", True)
    for workflow_id in (greeted.id, listening.id, refused.id):
        await assert_sealed(plain, workflow_id)
    assert {line["subject"] for line in codec.lines()} == {"workers"}
    assert {line["status"] for line in codec.lines()} == {200}


async def test_a_typescript_client_and_a_python_worker(
    site: Site, connect: Connect, plain: Client, name: str, temporal_server: TemporalServer
) -> None:
    client, _ = await connect(site.kms, require_encryption=True)
    settings = {**site.settings, "TASK_QUEUE": name, "WORKFLOW_ID": name}
    with site.codec():
        async with Worker(client, task_queue=name, workflows=[PythonGreeting], activities=[welcome]):
            arguments = ["lib/client.js", "PythonGreeting", SECRET, "tell"]
            said = await asyncio.to_thread(typescript.run, *arguments, **settings)
    assert said == f"Welcome, {SECRET}! And {SECRET}.\n"
    await assert_sealed(plain, name)
    assert temporal_server.db_path is not None
    assert Needles([SECRET]).find_in_database(temporal_server.db_path) == set()


async def test_while_the_codec_server_is_down_tasks_fail_and_nothing_is_sent_in_clear(
    site: Site, connect: Connect, plain: Client, name: str
) -> None:
    client, _ = await connect(site.kms, require_encryption=True)
    with site.codec():
        failing = await client.start_workflow(
            "Failing", args=[str(site.folder), SECRET], id=f"{name} failing", task_queue=QUEUE
        )
        until((site.folder / "started").exists)
    # The codec server is down now.
    (site.folder / "fail").touch()
    greeted = await client.start_workflow("Greeting", SECRET, id=name, task_queue=QUEUE, result_type=str)

    async def failed_task() -> HistoryEvent | None:
        kind = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
        return next((event for event in await events(plain, greeted.id) if event.event_type == kind), None)

    task = await eventually(failed_task, "a failed workflow task")
    assert task.workflow_task_failed_event_attributes.failure.message == DOWN
    attempt = await pending_activity(plain, failing.id, lambda found: found.HasField("last_failure"))
    assert attempt.last_failure.message == DOWN
    assert attempt.last_failure.application_failure_info.type == "CodecServerError"
    assert site.worker.poll() is None, "the SDK ends a worker that can't encode a failure"
    await assert_sealed(plain, failing.id)

    with site.codec():
        assert await result_of(greeted) == f"Hello, {SECRET}!"
        with pytest.raises(WorkflowFailureError) as failed:
            await result_of(failing)
    assert failed.value.cause is not None
    assert str(failed.value.cause.__cause__).endswith(f"no greeting for {SECRET}")
    for workflow_id in (greeted.id, failing.id):
        await assert_sealed(plain, workflow_id)


def test_the_codec_alone(site: Site) -> None:
    """Node's own runner has tests for what no real server does when it is asked to."""
    typescript.run("--test", *(str(file) for file in sorted(typescript.FOLDER.glob("lib/test/*.test.js"))))
