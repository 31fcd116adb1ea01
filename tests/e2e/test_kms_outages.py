"""Real KMS processes are killed, paused, slowed down, throttled and cut off, under running workflows."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, closing
from datetime import timedelta
from typing import Any

import pytest
from devstack import GcpKmsServer, LocalStack, OpenBao
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType, PendingActivityState
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.worker import Worker

from envelope_codec import EnvelopeCodec, EnvelopePlugin, KmsUnavailable
from tests.e2e.test_start import pollers
from tests.support.clock_moved_ahead import ClockMovedAhead, Journal
from tests.support.kms_faults import FAULTS, AnyKms, slow
from tests.support.kms_process import Kms, MortalVault
from tests.support.server_records import events, eventually, pending_activity, result_of
from tests.support.small_workflows import Delegate, Hello, Work
from tests.support.workflow_load import Late, Load, Porter

SECRET = Payload(metadata={"encoding": b"binary/plain"}, data=b"a secret")
TEN_MINUTES = 600.0
ROUNDS = 15
STARTED = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
SOON = timedelta(seconds=2)
BRIEF = {"lease": 0.5, "outage_grace": 0}
"""So that keys run out, in real time, soon after the KMS is gone."""


@pytest.fixture
def vault(run_server: Any) -> Iterator[MortalVault]:
    """A server of the test's own, which it may kill."""
    with run_server(OpenBao()) as server:
        vault = MortalVault(server)
        yield vault
        vault.close()


@pytest.fixture
def kmses(localstack: LocalStack, openbao: OpenBao, gcp_kms_server: GcpKmsServer) -> Iterator[list[Kms]]:
    made = [Kms("aws", localstack), Kms("vault", openbao), Kms("gcp", gcp_kms_server)]
    yield made
    for kms in made:
        kms.close()


async def _true(fact: object) -> bool | None:
    return bool(fact) or None


async def _told(plain: Client, workflow_id: str, kind: EventType.ValueType) -> HistoryEvent | None:
    return next((event for event in await events(plain, workflow_id) if event.event_type == kind), None)


async def key_run_out(plugin: EnvelopePlugin) -> None:
    await eventually(lambda: _true(plugin.keyring.try_sealing_key("default") is None), "the lease's end")


async def more_failures(journal: Journal, count: int) -> None:
    """Wait for so many more KMS calls without an answer."""
    enough = len(journal.calls("KmsUnavailable")) + count
    await eventually(lambda: _true(len(journal.calls("KmsUnavailable")) >= enough), "calls without an answer")


# --- with a warm cache --------------------------------------------------------------------------------------------


class Warm:
    """A starter and a worker, two processes as it were, that are about to have all keys at hand."""

    def __init__(self, kms: AnyKms, clock: ClockMovedAhead) -> None:
        self.kms = kms
        self._clock = clock
        self._journals = [Journal(clock.monotonic), Journal(clock.monotonic)]

    async def connect(self, connect: Any, name: str, *, patience: float) -> Load:
        clients: list[Client] = []
        for journal in self._journals:
            client, plugin = await connect(self.kms.key(patience=patience), observer=journal)
            self._clock.rules(plugin)
            clients.append(client)
        starter, worker = clients
        return Load(starter, worker, f"{name} {self.kms.name}")

    def heard(self, outcome: str) -> int:
        """How many KMS calls came to this so far."""
        return sum(len(journal.calls(outcome)) for journal in self._journals)


@pytest.mark.parametrize("fault", FAULTS)
async def test_running_workflows_do_not_notice_ten_minutes_of(
    fault: str, connect: Any, plain: Client, name: str, kmses: list[Kms], vault: MortalVault
) -> None:
    concerned: list[AnyKms] = [kms for kms in kmses if fault != "throttling" or kms.name != "gcp"]
    if fault == "stopped":
        concerned[1] = vault
    clock = ClockMovedAhead()
    warm = [Warm(kms, clock) for kms in concerned]
    patience = 0.1 if fault == "stalled" else 5.0  # ten minutes take seconds here, and so does a time-out
    loads = [await one.connect(connect, name, patience=patience) for one in warm]
    async with clock.running(), AsyncExitStack() as workers:
        for load in loads:
            await workers.enter_async_context(load.worker())
        await asyncio.gather(*(load.start() for load in loads))
        async with AsyncExitStack() as faults:
            for kms in concerned:
                await faults.enter_async_context(slow(kms, 0.1) if fault == "slow" else FAULTS[fault](kms))
            before = [(one.heard("ok"), one.heard("KmsUnavailable")) for one in warm]
            for _ in range(ROUNDS):
                clock.advance(TEN_MINUTES / ROUNDS)
                await asyncio.gather(*(load.carry() for load in loads))
            await asyncio.gather(*(load.errand() for load in loads))
            after = [(one.heard("ok"), one.heard("KmsUnavailable")) for one in warm]
        for load in loads:
            await load.check(plain)
    answered, unanswered = (
        [new[number] - old[number] for old, new in zip(before, after, strict=True)] for number in (0, 1)
    )
    if fault in ("stopped", "stalled"):
        assert (sum(answered), min(unanswered) > 0) == (0, True)
    elif fault == "flapping":
        assert min(sum(answered), sum(unanswered)) > 0
    else:
        assert min(answered) > 0
        assert fault == "slow" or min(unanswered) > 0


# --- with a cold cache --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["slow", "throttling", "flapping"])
async def test_a_cold_worker_works_all_the_same_with_a_kms_that_is(
    fault: str, connect: Any, plain: Client, name: str, kmses: list[Kms]
) -> None:
    """No time is moved ahead: a call that takes two seconds takes two."""
    concerned = [kms for kms in kmses if fault != "throttling" or kms.name != "gcp"]
    loads = []
    async with AsyncExitStack() as stack:
        for kms in concerned:
            starter, plugin = await connect(kms.key())
            await plugin.keyring.prewarm("default")
            client, _ = await connect(kms.key())
            await stack.enter_async_context(FAULTS[fault](kms))
            loads.append(Load(starter, client, f"{name} {kms.name}"))
            await stack.enter_async_context(loads[-1].worker())
        await asyncio.gather(*(load.errand() for load in loads))
        for load in loads:
            await load.check(plain)


async def test_a_cold_worker_polls_nothing_until_a_killed_kms_is_back(
    connect: Any, plain: Client, name: str, vault: MortalVault
) -> None:
    starter, _ = await connect(vault.key())
    journal = Journal()
    client, _ = await connect(vault.key(), observer=journal)
    handle = await starter.start_workflow(Hello.run, "Ada", id=name, task_queue=name)
    vault.kill()
    async with Worker(client, task_queue=name, workflows=[Hello]):
        await more_failures(journal, 3)
        assert await pollers(plain, name) == 0
        vault.revive()
        assert await result_of(handle) == "Hello, Ada!"


async def test_a_task_that_nobody_can_open_fails_and_is_tried_again_until_a_killed_kms_is_back(
    connect: Any, plain: Client, name: str, vault: MortalVault
) -> None:
    """The worker can seal, and has opened nothing yet."""
    starter, _ = await connect(vault.key())
    client, plugin = await connect(vault.key(), timeout=0.5)
    handle = await starter.start_workflow(Hello.run, "Ada", id=name, task_queue=name, task_timeout=SOON)
    await plugin.keyring.prewarm("default")
    vault.kill()
    async with Worker(client, task_queue=name, workflows=[Hello]):
        failed = await eventually(
            lambda: _told(plain, name, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED), "a failed workflow task"
        )
        failure = failed.workflow_task_failed_event_attributes.failure
        assert failure.application_failure_info.type == "KmsUnavailable"
        vault.revive()
        assert await result_of(handle) == "Hello, Ada!"


async def test_a_worker_whose_key_ran_out_starts_no_local_activity(
    connect: Any, plain: Client, name: str, vault: MortalVault
) -> None:
    starter, _ = await connect(vault.key())
    journal = Journal()
    client, plugin = await connect(vault.key(), observer=journal, timeout=0.3, **BRIEF)
    porter = Porter()
    async with Worker(client, task_queue=name, workflows=[Late], activities=[porter.look]):
        handle = await starter.start_workflow(Late.run, id=name, task_queue=name, task_timeout=SOON)
        await eventually(lambda: _told(plain, name, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED), "the first task")
        vault.kill()
        await key_run_out(plugin)
        await plain.get_workflow_handle(name).signal(Late.go)  # has no payload: the task itself needs no key
        await more_failures(journal, 10)
        assert porter.runs.total() == 0
        vault.revive()
        assert await result_of(handle) == "seen"
    assert porter.runs.total() == 1


async def test_heartbeat_details_survive_a_kms_that_was_killed(
    connect: Any, plain: Client, name: str, vault: MortalVault
) -> None:
    """The SDK gives an activity up for good where its heartbeat details can't be read, so that has patience."""
    seen: list[Any] = []

    @activity.defn(name="resume")
    async def resume() -> str:
        if activity.info().attempt == 1:
            activity.heartbeat("the first half")
            vault.kill()  # no wrap was verified, so opening the details needs a call
            raise RuntimeError("again, please")
        seen.extend(activity.info().heartbeat_details)
        return "the second half"

    journal = Journal()
    starter, _ = await connect(vault.key())
    client, _ = await connect(vault.key(), observer=journal, timeout=0.3, verify_wraps=False)
    async with Worker(client, task_queue=name, workflows=[Delegate], activities=[resume]):
        handle = await starter.start_workflow(Delegate.run, args=["resume", name, ""], id=name, task_queue=name)
        await pending_activity(plain, name, lambda one: one.attempt == 2 and one.state == STARTED)
        await more_failures(journal, 4)
        assert seen == []
        vault.revive()
        assert await result_of(handle) == "the second half"
    assert seen == ["the first half"]


# --- ends ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["stopped", "stalled"])
async def test_a_workers_shutdown_does_not_wait_for_a_kms_that_is(
    fault: str,
    connect: Any,
    plain: Client,
    name: str,
    vault: MortalVault,
    record_property: Callable[[str, object], None],
) -> None:
    """A workflow task and an activity's result wait for a key with a hundred seconds' patience. Nothing is lost."""
    starter, _ = await connect(vault.key())
    journal, work = Journal(), Work()
    client, plugin = await connect(vault.key(patience=1), observer=journal, timeout=100, activity_timeout=100, **BRIEF)
    settings: dict[str, Any] = {"task_queue": name, "workflows": [Hello, Delegate], "activities": [work.wait]}
    worker = Worker(client, **settings)
    running = asyncio.ensure_future(worker.run())
    delegating = await starter.start_workflow(
        Delegate.run, args=["wait", name, "care"], id=f"{name} delegate", task_queue=name, task_timeout=SOON
    )
    await asyncio.wait_for(work.begun.wait(), 60)
    async with FAULTS[fault](vault):
        await key_run_out(plugin)
        work.go_on.set()
        greeting = await starter.start_workflow(Hello.run, "Ada", id=name, task_queue=name, task_timeout=SOON)
        await eventually(lambda: _told(plain, name, EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED), "a workflow task")
        await more_failures(journal, 1)
        begun = time.monotonic()
        await asyncio.wait_for(worker.shutdown(), 50)
        await asyncio.wait_for(running, 10)
        record_property("seconds", time.monotonic() - begun)
    async with Worker(client, **settings):
        assert await result_of(greeting) == "Hello, Ada!"
        assert await result_of(delegating) == "waited with care"


def test_a_thousand_coroutines_in_four_loops_are_three_calls_of_a_kms_that_rejects_two(openbao: OpenBao) -> None:
    with closing(Kms("vault", openbao)) as kms, closing(EnvelopeCodec(kms.key())) as reader:
        with closing(EnvelopeCodec(kms.key())) as writer:
            (sealed,) = asyncio.run(writer.encode([SECRET]))
        before = kms.proxy.requests
        kms.proxy.throttle = 2
        barrier = threading.Barrier(4)

        async def many() -> list[list[Payload]]:
            return await asyncio.gather(*(reader.decode([sealed]) for _ in range(250)))

        def loop(_: int) -> list[list[Payload]]:
            barrier.wait(60)
            return asyncio.run(many())

        with ThreadPoolExecutor(4) as threads:
            opened = list(threads.map(loop, range(4)))
        assert opened == [[[SECRET]] * 250] * 4
        assert kms.proxy.requests - before == 3


async def test_closing_during_a_call_that_hangs_neither_hangs_nor_leaves_threads(kmses: list[Kms]) -> None:
    writers = [EnvelopeCodec(kms.key()) for kms in kmses]
    sealed = [await writer.encode([SECRET]) for writer in writers]
    readers = [EnvelopeCodec(kms.key(patience=60)) for kms in kmses]
    before = set(threading.enumerate())

    def calls() -> list[threading.Thread]:
        return [one for one in set(threading.enumerate()) - before if one.name.startswith("envelope-codec-kms")]

    async with AsyncExitStack() as faults:
        for kms in kmses:
            await faults.enter_async_context(FAULTS["stalled"](kms))
        waiting = [asyncio.ensure_future(reader.decode(p)) for reader, p in zip(readers, sealed, strict=True)]
        await eventually(lambda: _true(len(calls()) == len(kmses)), "the calls")
        for reader in readers:
            reader.close()
        for task in waiting:
            with pytest.raises(KmsUnavailable, match="closed"):
                await asyncio.wait_for(task, 30)
        assert len(calls()) == len(kmses), "the calls hang still"
    await eventually(lambda: _true(not calls()), "the end of the threads")
    for writer in writers:
        writer.close()
