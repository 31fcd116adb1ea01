"""Two KMS hold every wrapping key: one is killed under running workflows, the other carries on, and it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, NamedTuple

import pytest
from devstack import LocalStack, OpenBao
from temporalio.api.common.v1 import Payload
from temporalio.client import Client

from envelope_codec import EnvelopePlugin, KmsUnavailable
from envelope_codec.envelope import parse
from tests.e2e.test_start import pollers
from tests.support.clock_moved_ahead import ClockMovedAhead, Journal
from tests.support.kms_process import Mortal, MortalAws, MortalVault
from tests.support.server_records import eventually
from tests.support.workflow_load import Load

LEASE, GRACE, MINUTE = 300.0, 3_600.0, 60.0
SOON = 180.0
"""Seconds in which a KMS that is back is part of all that is sealed again."""


@pytest.fixture(scope="module")
def kmses(run_server: Any) -> Iterator[dict[str, Mortal]]:
    with run_server(LocalStack()) as localstack, run_server(OpenBao()) as openbao:
        made: dict[str, Mortal] = {"aws": MortalAws(localstack), "vault": MortalVault(openbao)}
        yield made
        for kms in made.values():
            kms.close()


class Process(NamedTuple):
    """A client with its keys, as a process of its own has them, and what its KMS calls came to."""

    client: Client
    plugin: EnvelopePlugin
    journal: Journal


class Pair:
    """Two KMS, and processes for which the first is ``key`` and the second the backup."""

    def __init__(self, first: Mortal, second: Mortal, clock: ClockMovedAhead) -> None:
        self.first = first
        self.second = second
        self._clock = clock

    async def process(self, connect: Any, **settings: Any) -> Process:
        journal = Journal(self._clock.monotonic)
        keys = {"backup_keys": (self.second.key(),), **settings}
        client, plugin = await connect(self.first.key(), observer=journal, **keys)
        self._clock.rules(plugin)
        return Process(client, plugin, journal)


async def sealed(process: Process) -> tuple[Payload, list[str]]:
    """A payload, and the key ids of the master keys that open it."""
    (payload,) = await process.client.data_converter.encode(["a text"])
    envelope = parse(payload.metadata, payload.data)
    assert envelope is not None
    return payload, [recipient.key_id for recipient in envelope.record.recipients]


@pytest.mark.parametrize(
    ("key", "backup", "dies"), [("aws", "vault", "aws"), ("vault", "aws", "vault"), ("aws", "vault", "vault")]
)
async def test_one_kms_is_killed_and_no_workflow_notices(
    key: str, backup: str, dies: str, connect: Any, plain: Client, name: str, kmses: dict[str, Mortal]
) -> None:
    clock = ClockMovedAhead()
    pair = Pair(kmses[key], kmses[backup], clock)
    starter, worker = await pair.process(connect), await pair.process(connect)
    ids = {kms: kmses[kms].key().key_id for kms in (key, backup)}
    both = [ids[key], ids[backup]]
    dead, alive = ids[dies], ids[backup if dies == key else key]
    load = Load(starter.client, worker.client, name)
    async with clock.running(), load.worker(), AsyncExitStack() as later:
        await load.start()
        assert (await sealed(worker))[1] == both

        kmses[dies].kill()
        for _ in range(10):
            clock.advance(MINUTE)
            await load.carry()
        clock.advance(LEASE + GRACE)  # from now on nothing serves because of a grace
        await load.carry()
        for process in (starter, worker):
            await process.plugin.keyring.renew()
            assert (await sealed(process))[1] == [alive]
        await load.carry()

        joining = Load(starter.client, (await pair.process(connect)).client, f"{name} joining")
        await later.enter_async_context(joining.worker())
        await joining.start()

        strict = await pair.process(connect, min_recipients=2)
        with pytest.raises(KmsUnavailable):
            await strict.plugin.keyring.sealing_key("default", timeout=1)
        assert await strict.client.data_converter.decode([(await sealed(starter))[0]]) == ["a text"]
        waiting = Load(starter.client, strict.client, f"{name} waiting")
        await later.enter_async_context(waiting.worker())
        errand = asyncio.ensure_future(waiting.errand())
        await eventually(lambda: _true(len(strict.journal.calls("KmsUnavailable", dead)) > 5), "more calls")
        assert await pollers(plain, f"{name} waiting") == 0

        kmses[dies].revive()
        revived = clock.monotonic()
        await errand
        for process in (starter, worker):
            await eventually(partial(seals_for, process, both, clock), "keys that both KMS open")
        assert clock.monotonic() - revived < SOON
        stranger = await pair.process(connect)
        (opened,) = await worker.client.data_converter.decode([(await sealed(stranger))[0]])
        assert opened == "a text"
        assert worker.journal.calls("ok")[-1].event.key_id == both[0], "it is asked first again"
        await load.carry()
    for one in (load, joining, waiting):
        await one.check(plain)


async def seals_for(process: Process, key_ids: list[str], clock: ClockMovedAhead) -> bool:
    """Let a while pass, in which something is sealed; and no longer a while than it takes while a call is under way."""
    if not process.plugin.keyring._calls._flying:
        clock.advance(5)
    return (await sealed(process))[1] == key_ids


async def _true(fact: object) -> bool | None:
    return bool(fact) or None
