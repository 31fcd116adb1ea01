"""The story of a master key that is retired: workflows sealed under OLD, and what opens them once OLD is gone."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import History
from temporalio.client import Client, WorkflowHistory
from temporalio.converter import PayloadCodec
from temporalio.runtime import Runtime
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from envelope_codec.cli.demo.counts import Counts
from envelope_codec.cli.demo.rekey_workflow import Order, Ship, print_label
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import EnvelopeError
from envelope_codec.observe import logger
from envelope_codec.plugin import EnvelopePlugin
from envelope_codec.temporal.payload_walk import payloads_in

_AT_ONCE = 50
_TASK_QUEUE = "shipping"


class Opened(NamedTuple):
    """What was opened with a cold cache.

    Attributes:
        number: of histories, or of payloads.
        counts: events, by operation and outcome.
    """

    number: int
    counts: Mapping[tuple[str, str], int]


class Story:
    """Workflows of one Temporal server, and the settings that their processes have.

    Args:
        address: of the Temporal server.
        old, new: URIs of master keys.
        folder: for settings and the keystore. It must be empty.
        more: settings of all processes.
        runtime: of Temporal's SDK.
    """

    def __init__(
        self, address: str, old: str, new: str, folder: Path, more: Mapping[str, float], runtime: Runtime | None = None
    ) -> None:
        self.address = address
        self.old, self.new = old, new
        self.folder = folder
        self._more, self._runtime = more, runtime

    def write_settings(self, name: str, key: str, *decrypt_keys: str, keystore: str = "keystore.db") -> Path:
        """Write a file of settings. ``keystore`` is the name of a SQLite file; without it there is no keystore."""
        settings: dict[str, object] = {"key": key, "decrypt_keys": decrypt_keys, "startup_jitter": 0, **self._more}
        if keystore:
            settings["keystore"] = f"sqlite+aiosqlite:///{quote(str(self.folder / keystore))}"
        path = self.folder / name
        # What JSON has for texts, numbers and lists of them is TOML too.
        path.write_text("".join(f"{one} = {json.dumps(value)}\n" for one, value in settings.items()), "utf-8")
        return path

    async def seal(self, settings: Path, ids: Sequence[str], *, waiting: int, processes: int) -> list[str]:
        """Run a workflow of each id, and return the ids of the last ones, so many, which then still wait.

        Args:
            settings: of all processes.
            ids: of the workflows.
            waiting: how many of them wait for a receipt.
            processes: how many plugins seal, each with keys of its own, as separate processes have.
        """
        open_ids = list(ids[len(ids) - waiting :])
        room = asyncio.Semaphore(_AT_ONCE)
        with ExitStack() as stack:
            clients = [await self._connect(stack.enter_context(_plugin(settings))) for _ in range(processes)]

            async def ship(number: int, workflow_id: str) -> None:
                order = Order(number, f"Marigold Quill {number}", workflow_id in open_ids)
                async with room:
                    client = clients[number % processes]
                    handle = await client.start_workflow(
                        Ship.run, order, id=workflow_id, task_queue=_TASK_QUEUE, memo={"gift for": order.customer}
                    )
                    await (handle.execute_update(Ship.printed) if order.waits else handle.result())

            async with self._worker(clients[0]):
                await asyncio.gather(*(ship(number, one) for number, one in enumerate(ids)))
        return open_ids

    async def fetch(self, ids: Iterable[str]) -> dict[str, WorkflowHistory]:
        """Fetch histories raw, as the server has them."""
        plain, room = await self._connect(), asyncio.Semaphore(_AT_ONCE)

        async def fetch(workflow_id: str) -> WorkflowHistory:
            async with room:
                return await plain.get_workflow_handle(workflow_id).fetch_history()

        found = await asyncio.gather(*map(fetch, ids))
        return {one.workflow_id: one for one in found}

    async def replay(self, settings: Path, histories: Iterable[WorkflowHistory]) -> Opened:
        """Replay histories with a cold cache.

        Raises:
            Exception: one of them does not replay.
        """
        counts = Counts()

        async def each() -> AsyncIterator[WorkflowHistory]:
            for history in histories:
                yield history

        with _plugin(settings, counts) as plugin:
            runner = UnsandboxedWorkflowRunner()
            replayer = Replayer(workflows=[Ship], plugins=[plugin], workflow_runner=runner, runtime=self._runtime)
            number = 0
            async with replayer.workflow_replay_iterator(each()) as results:
                async for result in results:
                    if result.replay_failure is not None:
                        raise result.replay_failure
                    number += 1
        return Opened(number, counts.copy())

    async def decode(self, settings: Path, histories: Iterable[WorkflowHistory]) -> Opened:
        """Open every payload of histories with a cold cache.

        Raises:
            EnvelopeError: one does not open.
        """
        counts, number = Counts(), 0
        with _plugin(settings, counts) as plugin:
            codec = await self._codec(plugin)
            for history in histories:
                opened = await codec.decode(sealed_in(history))
                number += sum(bool(json.loads(one.data)) for one in opened)
        return Opened(number, counts.copy())

    async def finish(self, settings: Path, ids: Sequence[str]) -> list[str]:
        """Tell workflows that wait that their orders were received, and return their results."""
        with _plugin(settings) as plugin:
            client = await self._connect(plugin)
            async with self._worker(client):
                handles = [client.get_workflow_handle(one, result_type=str) for one in ids]
                await asyncio.gather(*(one.signal(Ship.receive, "Ada") for one in handles))
                results: list[str] = await asyncio.gather(*(one.result() for one in handles))
                return results

    async def fail_to_open(self, settings: Path, history: WorkflowHistory) -> tuple[EnvelopeError, list[str]]:
        """Open a history that must not open. Return the error, and what the log says of it."""
        with _plugin(settings) as plugin, _warnings() as lines:
            codec = await self._codec(plugin)
            try:
                await codec.decode(sealed_in(history))
            except EnvelopeError as error:
                return error, lines
        raise AssertionError("it opens all the same")

    async def _connect(self, *plugins: EnvelopePlugin) -> Client:
        return await Client.connect(self.address, plugins=plugins, runtime=self._runtime)

    async def _codec(self, plugin: EnvelopePlugin) -> PayloadCodec:
        codec = (await self._connect(plugin)).data_converter.payload_codec
        if codec is None:
            raise RuntimeError("the plugin has not brought its codec")
        return codec

    def _worker(self, client: Client) -> Worker:
        return Worker(
            client,
            task_queue=_TASK_QUEUE,
            workflows=[Ship],
            activities=[print_label],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )


def sealed_in(history: WorkflowHistory) -> list[Payload]:
    """List the payloads of a history."""
    return list(payloads_in(History(events=history.events)))


def fingerprints(histories: Mapping[str, WorkflowHistory]) -> dict[str, str]:
    """Hash the bytes of histories, by the ids of their workflows."""
    return {
        one: hashlib.sha256(History(events=history.events).SerializeToString(deterministic=True)).hexdigest()
        for one, history in histories.items()
    }


def _plugin(settings: Path, observer: Counts | None = None) -> EnvelopePlugin:
    config = EnvelopeConfig.from_file(settings)
    return EnvelopePlugin(config, observer=observer) if observer is not None else EnvelopePlugin(config)


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Keep what is logged as a warning meanwhile."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    keep = Keep(logging.WARNING)
    logger.addHandler(keep)
    try:
        yield lines
    finally:
        logger.removeHandler(keep)
