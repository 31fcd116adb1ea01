"""Histories of encrypted workflows replay as plaintext ones do; of those that can't be opened, that is what is said."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from devstack import TemporalServer
from temporalio.client import Client, WorkflowHistory
from temporalio.common import HeaderCodecBehavior
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker
from temporalio.workflow import NondeterminismError

from envelope_codec import EnvelopePlugin, Event, NamespaceKeys
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.errors import (
    ContextMismatch,
    EncryptionRequired,
    EnvelopeError,
    KeyDenied,
    KeyNotConfigured,
    KmsUnavailable,
)
from envelope_codec.kms import MasterKey, master_key
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.temporal.payload_walk import payloads_in
from envelope_codec.testing import FakeKms
from tests.support.context_header import ContextHeader
from tests.support.importing_workflow import ImportsTheLibrary
from tests.support.kms_connection import KmsConnection
from tests.support.replayed_workflows import Detour, Trip, count, decline
from tests.support.server_records import register
from tests.support.small_workflows import Hello, Listen

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = "replayed-elsewhere"
WORKFLOWS = [Trip, Hello, Listen, ImportsTheLibrary]
HEADER = [ContextHeader("h")]


class Archive(NamedTuple):
    """Histories of workflows that have ended, and the keys that open them.

    Attributes:
        uri: of a key file.
        kms: that key, which sealed in the default namespace.
        other: sealed in the namespace `ELSEWHERE`.
        histories: ``sealed``, ``plain`` and ``both`` are of `Trip`, and ``elsewhere`` as well; ``signal`` and
            ``signal elsewhere`` are of `Listen`, ``imports`` of `ImportsTheLibrary`.
    """

    uri: str
    kms: MasterKey
    other: FakeKms
    histories: dict[str, WorkflowHistory]


@pytest.fixture(scope="module")
def archive(temporal_server: TemporalServer, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    path = tmp_path_factory.mktemp("archive") / "key.json"
    create_key_file(path)
    made = Archive(key_uri(path), master_key(key_uri(path)), FakeKms(), {})
    asyncio.run(_fill(made, temporal_server.address))
    return made


async def _fill(archive: Archive, address: str) -> None:
    plain = await Client.connect(address, interceptors=HEADER)
    await register(plain, ELSEWHERE)
    keys = {ELSEWHERE: NamespaceKeys(key=archive.other)}
    with EnvelopePlugin(archive.kms, namespaces=keys, startup_jitter=0) as plugin:
        sealing = await Client.connect(address, interceptors=HEADER, plugins=[plugin])
        elsewhere = await Client.connect(address, namespace=ELSEWHERE, interceptors=HEADER, plugins=[plugin])
        async with (
            Worker(sealing, task_queue="sealed", workflows=WORKFLOWS, activities=[count, decline]),
            Worker(plain, task_queue="plain", workflows=[Trip, Hello], activities=[count, decline]),
            Worker(elsewhere, task_queue="sealed", workflows=WORKFLOWS, activities=[count, decline]),
        ):
            await asyncio.gather(
                _trip(sealing, "sealed", sealing),
                _trip(plain, "plain", plain),
                _trip(plain, "both", sealing, task_queue="sealed"),
                _trip(elsewhere, "elsewhere", elsewhere, task_queue="sealed"),
            )
            for client, name in ((sealing, "signal"), (elsewhere, "signal elsewhere")):
                listening = await client.start_workflow(Listen.run, id=name, task_queue="sealed")
                await listening.signal(Listen.say, "s")
                await listening.result()
            await sealing.execute_workflow(ImportsTheLibrary.run, id="imports", task_queue="sealed")
    for name in ("sealed", "plain", "both", "signal", "imports"):
        archive.histories[name] = await plain.get_workflow_handle(name).fetch_history()
    there = await Client.connect(address, namespace=ELSEWHERE)
    for name in ("elsewhere", "signal elsewhere"):
        archive.histories[name] = await there.get_workflow_handle(name).fetch_history()


async def _trip(starter: Client, name: str, companion: Client, *, task_queue: str = "") -> None:
    await starter.start_workflow(Trip.run, "ab", id=name, task_queue=task_queue or name, memo={"note": "n"})
    handle = companion.get_workflow_handle(name, result_type=int)
    await handle.signal(Trip.say, "s")
    await handle.execute_update(Trip.change, "c")
    await handle.result()


async def replayed(
    histories: dict[str, WorkflowHistory], *plugins: EnvelopePlugin, **options: Any
) -> dict[str, Exception]:
    """Failures by the history's name. Each history goes through JSON, as one from a file."""
    options = {"workflows": WORKFLOWS, "interceptors": HEADER, **options}

    async def read() -> AsyncIterator[WorkflowHistory]:
        for name, history in histories.items():
            yield WorkflowHistory.from_json(name, history.to_json())

    replaying = Replayer(plugins=plugins, **options).replay_workflows(read(), raise_on_replay_failure=False)
    results = await asyncio.wait_for(replaying, 60)
    return {
        name: results.replay_failures[h.run_id] for name, h in histories.items() if h.run_id in results.replay_failures
    }


def of(archive: Archive, *names: str) -> dict[str, WorkflowHistory]:
    return {name: archive.histories[name] for name in names}


HERE = ("sealed", "plain", "both", "signal", "imports")


class Opened:
    """An observer that counts opened payloads."""

    def __init__(self) -> None:
        self.count = 0

    def on_event(self, event: Event) -> None:
        self.count += event.payloads if (event.operation, event.outcome) == ("open", "ok") else 0


class DecryptOnly(KmsConnection):
    """A line for a role that may decrypt, and nothing else."""

    def __init__(self, kms: MasterKey) -> None:
        super().__init__(kms)
        self.unwraps = 0

    def _check(self, operation: str) -> None:
        if operation != "unwrap":
            raise KeyDenied("permission is missing", operation=operation, key_id=self.key_id)
        self.unwraps += 1


def test_the_archive_holds_what_its_names_say(archive: Archive) -> None:
    sealed = {}
    for name, history in archive.histories.items():
        first, last = (list(payloads_in(history.events[index])) for index in (0, -1))
        sealed[name] = {is_envelope(payload) for payload in first}, {is_envelope(payload) for payload in last}
    assert sealed["sealed"] == sealed["elsewhere"] == ({True}, {True})
    assert sealed["plain"] == ({False}, {False})
    assert sealed["both"] == ({False}, {True})


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        pytest.param({}, {}, id="the replayer's own namespace"),
        pytest.param({}, {"namespace": "default"}, id="the namespace named"),
        pytest.param({}, {"workflow_runner": UnsandboxedWorkflowRunner()}, id="no sandbox"),
        pytest.param({"sealing": False}, {}, id="settings that do not seal"),
        pytest.param({"wrapping": "direct"}, {}, id="direct mode"),
    ],
)
async def test_histories_replay(settings: dict[str, Any], options: dict[str, Any], archive: Archive) -> None:
    opened = Opened()
    with EnvelopePlugin(archive.kms, observer=opened, **settings) as plugin:
        assert await replayed(of(archive, *HERE), plugin, **options) == {}
    assert opened.count > len(HERE)


async def test_history_replays_as_it_was_fetched(archive: Archive) -> None:
    with EnvelopePlugin(archive.kms) as plugin:
        replayer = Replayer(workflows=WORKFLOWS, interceptors=HEADER, plugins=[plugin])
        for history in of(archive, *HERE).values():
            await asyncio.wait_for(replayer.replay_workflow(history), 60)


async def test_replay_needs_the_permission_to_decrypt_and_no_other(archive: Archive) -> None:
    line = DecryptOnly(archive.kms)
    with EnvelopePlugin(line) as plugin:
        assert await replayed(of(archive, *HERE), plugin) == {}
    assert line.unwraps == 1, "one for each wrapping key in the histories"


async def test_replay_with_a_clients_converter(archive: Archive, temporal_server: TemporalServer) -> None:
    """Without the plugin in the replayer: what some have who build their own."""
    with EnvelopePlugin(archive.kms) as plugin:
        client = await Client.connect(temporal_server.address, plugins=[plugin])
        assert (
            await replayed(
                of(archive, "sealed", "plain", "both", "signal"),
                workflows=[Trip, Listen],
                data_converter=client.data_converter,
                header_codec_behavior=HeaderCodecBehavior.CODEC,
            )
            == {}
        )


@pytest.mark.parametrize("options", [{}, {"namespace": ELSEWHERE}], ids=["the replayer's own namespace", "named"])
async def test_history_of_a_namespace_with_a_key_of_its_own(options: dict[str, Any], archive: Archive) -> None:
    keys = {ELSEWHERE: NamespaceKeys(key=archive.other)}
    with EnvelopePlugin(archive.kms, namespaces=keys) as plugin:
        assert await replayed(of(archive, "elsewhere"), plugin, **options) == {}
    with EnvelopePlugin(archive.other) as plugin:
        assert await replayed(of(archive, "elsewhere"), plugin, **options) == {}


@pytest.mark.parametrize("name", ["sealed", "plain", "both", "elsewhere"])
async def test_changed_workflow_is_found(name: str, archive: Archive) -> None:
    keys = {ELSEWHERE: NamespaceKeys(key=archive.other)}
    with EnvelopePlugin(archive.kms, namespaces=keys) as plugin:
        failures = await replayed(of(archive, name, "signal"), plugin, workflows=[Detour, Listen])
    assert failures.keys() == {name}
    assert isinstance(failures[name], NondeterminismError)


def silent(archive: Archive) -> EnvelopePlugin:
    return EnvelopePlugin(KmsConnection(archive.kms, cut=True), timeout=0.3)


def refusing(archive: Archive) -> EnvelopePlugin:
    kms = FakeKms(archive.kms.key_id)
    kms.denied = True
    return EnvelopePlugin(kms)


def of_another_key(archive: Archive) -> EnvelopePlugin:
    return EnvelopePlugin(FakeKms())


def strict(archive: Archive) -> EnvelopePlugin:
    return EnvelopePlugin(archive.kms, require_encryption=True)


def right(archive: Archive) -> EnvelopePlugin:
    return EnvelopePlugin(archive.kms)


SEALED = {"sealed", "both", "signal", "imports"}


@pytest.mark.parametrize(
    ("plugin_of", "options", "unreadable", "kind", "reason"),
    [
        pytest.param(silent, {}, SEALED, KmsUnavailable, "the KMS did not answer", id="no answer"),
        pytest.param(refusing, {}, SEALED, KeyDenied, "the master key is disabled", id="refusal"),
        pytest.param(
            of_another_key,
            {},
            SEALED,
            KeyNotConfigured,
            "none of the envelope's master keys is configured",
            id="another key",
        ),
        pytest.param(
            right,
            {"namespace": ELSEWHERE},
            SEALED,
            ContextMismatch,
            "the envelope was sealed for another namespace",
            id="another namespace",
        ),
        pytest.param(
            strict, {}, {"plain", "both"}, EncryptionRequired, "the payload is not encrypted", id="plaintext refused"
        ),
    ],
)
async def test_history_that_cannot_be_opened_is_reported_as_that(
    plugin_of: Callable[[Archive], EnvelopePlugin],
    options: dict[str, Any],
    unreadable: set[str],
    kind: type[EnvelopeError],
    reason: str,
    archive: Archive,
) -> None:
    """And not as a change of the workflow. The other histories replay."""
    with plugin_of(archive) as plugin:
        failures = await replayed(of(archive, *HERE), plugin, **options)
    assert failures.keys() == unreadable
    for failure in failures.values():
        assert type(failure) is kind
        assert str(failure).startswith(reason)


async def test_what_a_replay_without_the_plugin_says(archive: Archive) -> None:
    failures = await replayed(of(archive, "sealed", "plain", "both", "signal"), workflows=[Trip, Listen])
    assert failures.keys() == {"sealed", "both", "signal"}
    assert "Unknown payload encoding binary/envelope-v1" in str(failures["sealed"])
    # A signal that can't be read is dropped, with a line in the log: as if the workflow had changed.
    assert isinstance(failures["signal"], NondeterminismError)


CHANGED = """
from temporalio import workflow

@workflow.defn(name="Listen")
class Greet:
    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(1)
        return "hello"
    @workflow.signal
    def say(self, text: str) -> None:
        pass
"""


def test_the_documents_job_fails_and_says_why(archive: Archive, tmp_path: Path) -> None:
    """That it passes where all is well, `test_snippets.py` shows."""
    [job] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/replay.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "job.py").write_text(job, "utf-8")
    (tmp_path / "my_app.py").write_text(CHANGED, "utf-8")
    (tmp_path / "histories").mkdir()
    for name in ("signal", "signal elsewhere"):
        (tmp_path / "histories" / f"{name}.json").write_text(archive.histories[name].to_json(), "utf-8")
    environment = {**os.environ, "ENVELOPE_CODEC_KEY": archive.uri}
    done = subprocess.run(
        [sys.executable, "job.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert re.search(r"^signal: .*Nondeterminism", done.stderr, re.MULTILINE)
    assert re.search(r"^signal elsewhere: .*none of the envelope's master keys", done.stderr, re.MULTILINE)
