"""From plaintext, or from a static-key codec, to envelopes: two generations of workers and callers at every step."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import shlex
from asyncio.subprocess import PIPE, STDOUT
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import pytest
from devstack import TemporalServer
from localserver import find_program
from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowHistory,
    WorkflowQueryFailedError,
)
from temporalio.common import HeaderCodecBehavior
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from envelope_codec import EnvelopePlugin, Event
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.envelope import ENCODING as ENVELOPE
from envelope_codec.temporal.payload_walk import payloads_in
from envelope_codec.testing import FakeKms
from tests.support.context_header import ContextHeader
from tests.support.long_lived_workflows import Conversation, Errand, Errands, Successor
from tests.support.proxied import NAME as PROXY_KEY
from tests.support.proxied import ThroughProxy
from tests.support.server_records import events, eventually
from tests.support.small_workflows import Hello
from tests.support.static_key_codec import ENCODING as STATIC_KEY
from tests.support.static_key_codec import StaticKeyCodec

ADOPTION = Path(__file__).resolve().parents[2] / "docs" / "adoption.md"
HEADER = "a header"
JSON = b"json/plain"


class Generation(NamedTuple):
    """One release of an application.

    Attributes:
        writes: the encoding of the payloads that it writes.
        codec: of its own data converter.
        settings: of the plugin; None without it.
        own_headers: whether its own codec has headers as well.
    """

    writes: bytes
    codec: PayloadCodec | None = None
    settings: dict[str, Any] | None = None
    own_headers: bool = False


PLAINTEXT = Generation(JSON)
FROM_PLAINTEXT = [
    PLAINTEXT,
    Generation(JSON, settings={"sealing": False}),
    Generation(ENVELOPE, settings={}),
    Generation(ENVELOPE, settings={"require_encryption": True}),
]
LEGACY = {"legacy_codecs": ["tests.support.static_key_codec:from_deployment"]}
FROM_STATIC_KEY = [
    PLAINTEXT,
    Generation(JSON, StaticKeyCodec(sealing=False), own_headers=True),
    Generation(STATIC_KEY, StaticKeyCodec(), own_headers=True),
    Generation(STATIC_KEY, StaticKeyCodec(), {"sealing": False}, own_headers=True),
    Generation(ENVELOPE, settings=LEGACY),
    Generation(ENVELOPE, settings={**LEGACY, "require_encryption": True}),
]
PROXY_KMS = FakeKms("fakekms://of-the-proxy")
PROXIED = {"temporal_proxy_keys": {PROXY_KEY: [PROXY_KMS]}}
FROM_PROXY = [
    Generation(STATIC_KEY, ThroughProxy(PROXY_KMS), own_headers=True),
    Generation(STATIC_KEY, ThroughProxy(PROXY_KMS), {**PROXIED, "sealing": False}, own_headers=True),
    Generation(ENVELOPE, settings=PROXIED),
    Generation(ENVELOPE, settings={**PROXIED, "require_encryption": True}),
]
CLEAR = {"headers": False}
HEADERS_IN_CLEAR = [
    Generation(STATIC_KEY, StaticKeyCodec()),
    Generation(STATIC_KEY, StaticKeyCodec(), {"sealing": False, **CLEAR}),
    Generation(ENVELOPE, settings={**LEGACY, **CLEAR}),
    Generation(ENVELOPE, settings={**LEGACY, **CLEAR, "require_encryption": True}),
]


class Fleet:
    """Workers and callers of one generation after another, on one task queue.

    Attributes:
        errand: the activities, which note how often they ran.
        events: what the plugins of each generation reported, by its place in the list.
    """

    def __init__(self, generations: Sequence[Generation], kms: FakeKms, address: str, task_queue: str) -> None:
        self.errand = Errand()
        self.events = [Events() for _ in generations]
        self._generations = generations
        self._kms = kms
        self._address = address
        self._task_queue = task_queue

    def plugin(self, number: int) -> EnvelopePlugin:
        settings = self._generations[number].settings
        assert settings is not None
        return EnvelopePlugin(self._kms, observer=self.events[number], startup_jitter=0, **settings)

    @asynccontextmanager
    async def serving(self, number: int) -> AsyncIterator[Client]:
        """A worker of one generation, and its client, as one process has them."""
        generation = self._generations[number]
        async with AsyncExitStack() as stack:
            plugins = [] if generation.settings is None else [stack.enter_context(self.plugin(number))]
            client = await Client.connect(
                self._address,
                data_converter=dataclasses.replace(DataConverter.default, payload_codec=generation.codec),
                header_codec_behavior=HeaderCodecBehavior.CODEC
                if generation.own_headers
                else HeaderCodecBehavior.NO_CODEC,
                interceptors=[ContextHeader(HEADER)],
                plugins=plugins,
            )
            worker = Worker(
                client,
                task_queue=self._task_queue,
                workflows=[Errands],
                activities=[self.errand.carry, self.errand.refuse],
                workflow_runner=UnsandboxedWorkflowRunner(),
                max_cached_workflows=0,  # so that each task, with all that came before it, may go to either generation
            )
            await stack.enter_async_context(worker)
            yield client


class Events:
    """An observer that counts payloads."""

    def __init__(self) -> None:
        self.payloads: Counter[str] = Counter()

    def on_event(self, event: Event) -> None:
        self.payloads[event.operation] += event.payloads


class History(NamedTuple):
    """What the server has of one workflow, read by a client that knows nothing of encryption."""

    step: int
    history: WorkflowHistory

    @property
    def encodings(self) -> set[bytes]:
        return {payload.metadata["encoding"] for event in self.history.events for payload in payloads_in(event)}


async def converse(conversation: Conversation, one: Client, other: Client) -> None:
    await conversation.begin(one, HEADER)
    await conversation.send(other)
    await conversation.end(one, other)


async def roll_out(fleet: Fleet, plain: Client, name: str, steps: int, short: int, lasting: int) -> list[History]:
    """Serve two generations at a time, each step the next two, under load. Returns all histories.

    Args:
        steps: the last of them requires encryption.
        short: workflows that begin and end in each step, called by both generations.
        lasting: workflows that live through all steps but the last.
    """
    told = list[tuple[int, Conversation]]()
    long = [Conversation(f"{name} lasting {number}", name) for number in range(lasting)]
    for step in range(steps):
        brief = [Conversation(f"{name} step {step} {number}", name) for number in range(short)]
        async with fleet.serving(step) as older, fleet.serving(step + 1) as newer:

            def callers(number: int, old: Client = older, new: Client = newer) -> tuple[Client, Client]:
                return (old, new) if number % 2 else (new, old)

            if step == 0:
                await asyncio.gather(*(each.begin(callers(number)[0], HEADER) for number, each in enumerate(long)))
            talks = [converse(each, *callers(number)) for number, each in enumerate(brief)]
            talks += [each.talk(*callers(number)) for number, each in enumerate(long)]
            await asyncio.gather(*talks)
            told += [(step, each) for each in brief]
            if step == steps - 2:
                await asyncio.gather(*(each.end(*callers(number)) for number, each in enumerate(long)))
                told += [(-1, each) for each in long]
                long = []
    return [
        History(step, await plain.get_workflow_handle(conversation.workflow_id).fetch_history())
        for step, conversation in told
    ]


async def failed_replays(plugin: EnvelopePlugin, histories: Sequence[History]) -> dict[str, Exception]:
    async def each() -> AsyncIterator[WorkflowHistory]:
        for history in histories:
            yield history.history

    with plugin:
        replayer = Replayer(
            workflows=[Errands],
            plugins=[plugin],
            interceptors=[ContextHeader(HEADER)],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        results = await replayer.replay_workflows(each(), raise_on_replay_failure=False)
    return dict(results.replay_failures)


@pytest.mark.parametrize(
    ("generations", "short", "lasting"),
    [(FROM_PLAINTEXT, 20, 4), (FROM_STATIC_KEY, 20, 4), (HEADERS_IN_CLEAR, 4, 2), (FROM_PROXY, 4, 2)],
    ids=["from plaintext", "from a static key", "with headers in clear", "from Temporal's proxy"],
)
async def test_each_release_is_rolled_out_beside_the_one_before_it(
    generations: Sequence[Generation],
    short: int,
    lasting: int,
    temporal_server: TemporalServer,
    plain: Client,
    name: str,
    kms: FakeKms,
) -> None:
    """No workflow and no workflow task fails, no activity runs twice, and all that was ever written replays."""
    fleet = Fleet(generations, kms, temporal_server.address, name)
    steps = len(generations) - 1
    histories = await asyncio.wait_for(roll_out(fleet, plain, name, steps, short, lasting), 150)

    assert len(histories) == steps * short + lasting
    for _, workflow_history in histories:
        assert workflow_history.events[-1].event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED
        # One may time out: on a busy machine the server loses one now and then to a worker that has just started,
        # without any codec as well.
        assert EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED not in {event.event_type for event in workflow_history.events}
    errands = steps * short + lasting * (steps - 1)
    assert len(fleet.errand.runs) == 2 * errands
    assert set(fleet.errand.runs.values()) == {1}

    headers = {JSON} if generations is HEADERS_IN_CLEAR else set()
    for history in histories:
        if history.step >= 0:
            older, newer = generations[history.step : history.step + 2]
            assert history.encodings
            assert history.encodings <= {older.writes, newer.writes, *headers}
    written = set[bytes]().union(*(history.encodings for history in histories))
    assert written == {*(generation.writes for generation in generations), *headers}

    first, last = fleet.events[-2].payloads, fleet.events[-1].payloads
    assert first["pass" if generations is FROM_PLAINTEXT else "legacy"] > 0
    assert last["open"] > 0
    assert last["legacy"] == last["pass"] == 0

    assert await failed_replays(fleet.plugin(steps - 1), histories) == {}
    newest = [history for history in histories if history.step == steps - 1]
    assert await failed_replays(fleet.plugin(steps), newest) == {}
    if generations is FROM_PLAINTEXT:
        (old,) = (await failed_replays(fleet.plugin(steps), histories[:1])).values()
        assert "encryption is required" in str(old)


# --- the document -----------------------------------------------------------------------------------------------------


def snippets(language: str) -> list[str]:
    text = ADOPTION.read_text("utf-8")
    return [dedent(found) for found in re.findall(rf"^ *```{language}\n(.*?)```", text, re.DOTALL | re.MULTILINE)]


async def test_the_clients_of_the_document_are_neighbours(
    temporal_server: TemporalServer,
    plain: Client,
    name: str,
    kms: FakeKms,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of a static key's steps 1 and 2, with the settings that stand above each."""
    create_key_file(tmp_path / "key.json")
    (tmp_path / "my_app").mkdir()
    (tmp_path / "my_app" / "codec.py").write_text(
        "from tests.support.static_key_codec import from_deployment as static_key", "utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    clients = []
    settings = [text for text in snippets("toml") if "legacy_codecs" in text]
    connecting = [text for text in snippets("python") if "def connect" in text]
    for toml, code in zip(settings, connecting, strict=True):
        toml = re.sub(r'"arn:[^"]*"', f'"{key_uri(tmp_path / "key.json")}"', toml)
        (tmp_path / "envelope.toml").write_text(toml, "utf-8")
        snippet: dict[str, Any] = {}
        exec(code.replace("localhost:7233", temporal_server.address), snippet)
        clients.append(await snippet["connect"]())
    for number, (one, other) in enumerate([clients, reversed(clients)]):
        queue = f"{name} {number}"
        async with Worker(one, task_queue=queue, workflows=[Hello]):
            assert await other.execute_workflow(Hello.run, "Ada", id=queue, task_queue=queue) == "Hello, Ada!"
        stored = [
            payload.metadata["encoding"] for event in await events(plain, queue) for payload in payloads_in(event)
        ]
        assert stored == [[ENVELOPE, STATIC_KEY], [STATIC_KEY, ENVELOPE]][number]
    for client in clients:
        client.config()["plugins"][0].close()


async def test_schedule_is_in_clear_until_it_is_updated_by_a_client_that_seals(
    connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    action = ScheduleActionStartWorkflow("Hello", "Ada", id=name, task_queue=name)
    made = await plain.create_schedule(name, Schedule(action=action, spec=ScheduleSpec()))
    client, _ = await connect(kms)
    (code,) = [text for text in snippets("python") if "def seal_again" in text]
    snippet: dict[str, Any] = {}
    exec(code, snippet)

    async def encodings() -> list[bytes]:
        described = (await made.describe()).schedule.action
        assert isinstance(described, ScheduleActionStartWorkflow)
        return [payload.metadata["encoding"] for payload in described.args]

    try:
        reading, _ = await connect(kms, sealing=False)
        await snippet["seal_again"](reading, name)
        assert await encodings() == [JSON]
        await snippet["seal_again"](client, name)
        assert await encodings() == [ENVELOPE]
        async with Worker(client, task_queue=name, workflows=[Hello]):
            await made.trigger()

            async def run() -> str | None:
                listed = [each.id async for each in plain.list_workflows(f"TaskQueue = '{name}'")]
                return listed[0] if listed else None

            started = await eventually(run, "the schedule's run")
            assert await client.get_workflow_handle(started).result() == "Hello, Ada!"
    finally:
        await made.delete()


@pytest.mark.parametrize("again", [True, False], ids=["given again", "left alone"])
async def test_memo_is_carried_on_in_clear_unless_it_is_given_again(
    again: bool, connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    lenient, _ = await connect(kms)
    strict, _ = await connect(kms, require_encryption=True)
    begun = await plain.start_workflow(
        Successor.run, args=[again, True], id=name, task_queue=name, memo={"note": "in clear"}
    )
    newest = plain.get_workflow_handle(name)
    async with Worker(lenient, task_queue=name, workflows=[Successor]):
        await begun.signal(Successor.go_on)

        async def continued() -> bool:
            return (await newest.describe()).run_id != begun.first_execution_run_id

        await eventually(continued, "the next run")
        assert await lenient.get_workflow_handle_for(Successor.run, name).query(Successor.note) == "in clear"
    started = (await events(plain, name))[0].workflow_execution_started_event_attributes
    assert started.memo.fields["note"].metadata["encoding"] == (ENVELOPE if again else JSON)
    async with Worker(strict, task_queue=name, workflows=[Successor]):
        handle = strict.get_workflow_handle_for(Successor.run, name)
        if again:
            await handle.signal(Successor.go_on)
            assert await handle.result() == "in clear"
        else:
            with pytest.raises(WorkflowQueryFailedError):
                await handle.query(Successor.note)
            await handle.terminate()


async def test_the_list_of_workflows_that_began_before_works(temporal_server: TemporalServer) -> None:
    (command,) = [text for text in snippets("sh") if "workflow list" in text]
    program = find_program("temporal")
    assert program is not None
    words = [program, *shlex.split(command)[1:], "--address", temporal_server.address]
    listing = await asyncio.create_subprocess_exec(*words, stdout=PIPE, stderr=STDOUT)
    output, _ = await listing.communicate()
    assert listing.returncode == 0, output.decode()
