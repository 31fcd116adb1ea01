"""A master key is taken away under running workflows: by when nothing is sealed or opened any more, and what then is.

Real KMS servers, and time that is moved ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.worker import Worker

from envelope_codec import EnvelopeError, EnvelopePlugin, KeyDenied, KmsUnavailable
from envelope_codec.envelope import parse
from tests.support.clock_moved_ahead import ClockMovedAhead, Journal
from tests.support.kms_process import Kms
from tests.support.server_records import events, eventually, result_of
from tests.support.small_workflows import Listen
from tests.support.workflow_load import Load

LEASE, GRACE = 300.0, 3_600.0
SOON = timedelta(seconds=2)
SETTINGS = {"lease": LEASE, "outage_grace": GRACE, "timeout": 0.5}
SERVERS = {"aws": "localstack", "vault": "openbao", "gcp": "gcp_kms_server"}


class Way(NamedTuple):
    """How a master key is taken away, and given back."""

    kms: str
    revoke: Callable[[Kms], None]
    restore: Callable[[Kms], None]


def disable(kms: Kms) -> None:
    kms.harness.disable(kms.uri)


def enable(kms: Kms) -> None:
    kms.harness.enable(kms.uri)


def schedule_deletion(kms: Kms) -> None:
    kms.harness.schedule_deletion(kms.uri)


def cancel_deletion(kms: Kms) -> None:
    arn = kms.uri.removeprefix("awskms:///").partition("?")[0]
    kms.harness.client().cancel_key_deletion(KeyId=arn)
    kms.harness.client().enable_key(KeyId=arn)


WAYS = {
    "aws: key disabled": Way("aws", disable, enable),
    "aws: deletion scheduled": Way("aws", schedule_deletion, cancel_deletion),
    "vault: permission withdrawn": Way("vault", disable, enable),
    "gcp: versions disabled": Way("gcp", disable, enable),
}


@pytest.fixture
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


@pytest.fixture
def kms(request: pytest.FixtureRequest, way: Way) -> Iterator[Kms]:
    kms = Kms(way.kms, request.getfixturevalue(SERVERS[way.kms]))
    yield kms
    kms.close()


class Process:
    """A client with its keys, as a process of its own has them."""

    def __init__(self, client: Client, plugin: EnvelopePlugin, journal: Journal) -> None:
        self.client = client
        self.plugin = plugin
        self.journal = journal

    async def warm(self, payloads: list[Payload]) -> None:
        """Have the keys of these payloads at hand."""
        for payload in payloads:
            envelope = parse(payload.metadata, payload.data)
            assert envelope is not None
            await self.plugin.keyring.opening_key(envelope.record, timeout=60)

    async def use(self, kept: Payload) -> None:
        """Seal and open, as far as that is possible."""
        with suppress(EnvelopeError):
            await self.client.data_converter.encode(["a text"])
        with suppress(EnvelopeError):
            await self.client.data_converter.decode([kept])

    async def refusals(self, kept: Payload) -> list[type[EnvelopeError]]:
        """What sealing and opening come to, both of which are in vain."""
        found: list[type[EnvelopeError]] = []
        for attempt in (self.client.data_converter.encode(["a text"]), self.client.data_converter.decode([kept])):
            with pytest.raises(EnvelopeError) as caught:
                await attempt
            found.append(caught.type)
        return found

    async def denied(self, kept: Payload) -> bool:
        """Whether sealing and opening are refused by now, instead of getting no answer."""
        return await self.refusals(kept) == [KeyDenied, KeyDenied]


class Scene:
    """A starter and a worker that have all keys at hand, and a payload that both have opened."""

    processes: list[Process]
    kept: Payload

    def __init__(self, kms: Kms, clock: ClockMovedAhead) -> None:
        self.kms = kms
        self.clock = clock

    async def set(self, connect: Any, name: str) -> Load:
        self.processes = []
        for _ in range(2):
            journal = Journal(self.clock.monotonic)
            client, plugin = await connect(self.kms.key(), observer=journal, **SETTINGS)
            self.clock.rules(plugin)
            self.processes.append(Process(client, plugin, journal))
        payloads = []
        for process in self.processes:
            await process.plugin.keyring.prewarm("default")
            payloads += await process.client.data_converter.encode(["kept"])
        for process in self.processes:
            await process.warm(payloads)
        self.kept = payloads[0]
        return Load(self.processes[0].client, self.processes[1].client, name)


@pytest.mark.parametrize("way", WAYS, indirect=True)
async def test_after_a_revocation_nothing_is_sealed_or_opened_later_than_one_lease(
    way: Way, kms: Kms, connect: Any, plain: Client, name: str
) -> None:
    """Whatever the grace, for the KMS answers. Given back, the key works again without a restart."""
    clock = ClockMovedAhead()
    scene = Scene(kms, clock)
    load = await scene.set(connect, name)
    starter, worker = scene.processes
    listening = Worker(worker.client, task_queue=f"{name} listen", workflows=[Listen])
    async with clock.running(), load.worker(), listening:
        await load.start()
        handle = await starter.client.start_workflow(
            Listen.run, id=f"{name} listen", task_queue=f"{name} listen", task_timeout=SOON
        )
        way.revoke(kms)
        revoked = clock.monotonic()
        while clock.monotonic() < revoked + LEASE:
            for process in scene.processes:
                await process.use(scene.kept)
            clock.advance(10)
        for process in scene.processes:
            assert await process.refusals(scene.kept) == [KeyDenied, KeyDenied]
            assert revoked <= process.journal.last_use() < revoked + LEASE
        await plain.get_workflow_handle(handle.id).signal("say", RawValue(scene.kept))
        await eventually(lambda: _failed_task(plain, handle.id), "a failed workflow task")
        assert all(process.journal.last_use() < revoked + LEASE for process in scene.processes)

        way.restore(kms)
        clock.advance(6)  # a refusal is repeated for five seconds
        assert await result_of(handle) == "kept"
        await load.carry()
    await load.check(plain)


async def _failed_task(plain: Client, workflow_id: str) -> HistoryEvent | None:
    failed = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    return next((event for event in await events(plain, workflow_id) if event.event_type == failed), None)


@pytest.mark.parametrize("way", [way for way in WAYS if "deletion" not in way], indirect=True)
async def test_revoked_and_then_unreachable_lease_and_grace_and_not_a_second_more(
    way: Way, kms: Kms, connect: Any, plain: Client, name: str
) -> None:
    clock = ClockMovedAhead()
    scene = Scene(kms, clock)
    load = await scene.set(connect, name)
    async with clock.running(), load.worker():
        await load.start()
        way.revoke(kms)
        kms.proxy.cut = True
        sent = [process.journal.calls("ok")[-1].at for process in scene.processes]
        end = min(sent) + LEASE + GRACE
        while clock.monotonic() < max(sent) + LEASE + GRACE:
            clock.advance(1 if clock.monotonic() > end - 60 else 30)
            for process in scene.processes:
                await process.use(scene.kept)
        for process, at in zip(scene.processes, sent, strict=True):
            assert at + LEASE + GRACE - 2 < process.journal.last_use() < at + LEASE + GRACE
            assert await process.refusals(scene.kept) == [KmsUnavailable, KmsUnavailable]

        kms.proxy.cut = False
        for process in scene.processes:
            await eventually(partial(process.denied, scene.kept), "a refusal")
        way.restore(kms)
        clock.advance(6)
        await load.carry()
    await load.check(plain)
