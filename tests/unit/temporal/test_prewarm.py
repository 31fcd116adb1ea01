"""User code runs when the key is at hand that seals its result, and what it leaves is sealed with patience."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.protobuf.message import Message
from nexusrpc.handler import StartOperationResultSync
from temporalio import nexus
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ActivityOutboundInterceptor, NexusOperationInboundInterceptor

from envelope_codec import EnvelopeConfig, KeyDenied, KmsUnavailable, SealingContext
from envelope_codec.errors import ConfigurationError
from envelope_codec.keys import patience
from envelope_codec.keys.stop import Stop, stopping
from envelope_codec.keys.waiter import waited
from envelope_codec.temporal.prewarm import Prewarm
from envelope_codec.temporal.system_payloads import SYSTEM_MARK
from envelope_codec.temporal.worker_client import WorkerClient
from envelope_codec.testing import FakeKms

Work = Callable[[], Any]


class Running:
    """What an activity or an operation did, and what was there when it ran."""

    def __init__(self, kms: FakeKms, work: Work = lambda: "result") -> None:
        self.kms = kms
        self.work = work
        self.wraps: list[int] = []
        self.was_patient: bool | None = None
        self.outbound: Any = None

    def run(self) -> Any:
        self.wraps.append(self.kms.wraps)
        self.was_patient = patience.is_left()
        return self.work()


class Activity(ActivityInboundInterceptor):
    """Next to the activity."""

    def __init__(self, running: Running) -> None:
        self.running = running

    def init(self, outbound: Any) -> None:
        self.running.outbound = outbound

    async def execute_activity(self, input: Any) -> Any:
        return self.running.run()


class Operation(NexusOperationInboundInterceptor):
    """Next to the operation."""

    def __init__(self, running: Running) -> None:
        self.running = running

    async def execute_nexus_operation_start(self, input: Any) -> Any:
        return self.running.run()

    async def execute_nexus_operation_cancel(self, input: Any) -> None:
        self.running.run()


@pytest.fixture
def kms() -> FakeKms:
    return FakeKms()


@pytest.fixture
def prewarm(kms: FakeKms) -> Any:
    keyring = EnvelopeConfig(key=kms, timeout=5).keyring()
    yield Prewarm(keyring, "default", WorkerClient(lambda client: None))
    keyring.close()


async def in_activity(prewarm: Prewarm, running: Running) -> Any:
    """The result, and whether what comes after is sealed with patience."""

    async def activity() -> Any:
        try:
            return await prewarm.intercept_activity(Activity(running)).execute_activity(cast(Any, None))
        finally:
            seen.append(patience.is_left())

    seen: list[bool] = []
    try:
        return await ActivityEnvironment().run(activity), seen[0]
    except BaseException as error:
        return error, seen[0]


async def test_the_key_is_there_before_an_activity_runs_and_patience_after(prewarm: Prewarm, kms: FakeKms) -> None:
    running = Running(kms)
    assert await in_activity(prewarm, running) == ("result", True)
    assert running.wraps == [1]
    assert running.was_patient is False


async def test_an_activity_whose_result_can_not_be_sealed_does_not_run(prewarm: Prewarm, kms: FakeKms) -> None:
    kms.denied = True
    running = Running(kms)
    error, is_patient = await in_activity(prewarm, running)
    assert isinstance(error, KeyDenied)
    assert running.wraps == []
    assert not is_patient, "an activity that has not run may be tried again"


async def test_an_attempt_that_timed_out_while_it_waited_does_not_run(prewarm: Prewarm, kms: FakeKms) -> None:
    async def activity() -> None:
        task = asyncio.current_task()
        assert task is not None
        waited[task] = environment.info.start_to_close_timeout.total_seconds()  # type: ignore[union-attr]
        await prewarm.intercept_activity(Activity(running)).execute_activity(cast(Any, None))

    environment, running = ActivityEnvironment(), Running(kms)
    with pytest.raises(KmsUnavailable, match="the attempt timed out"):
        await environment.run(activity)
    assert running.wraps == []


async def test_an_error_of_an_activity_stays_what_it_is(prewarm: Prewarm, kms: FakeKms) -> None:
    raised = ValueError("in clear")
    error, is_patient = await in_activity(prewarm, Running(kms, lambda: throw(raised)))
    assert error is raised
    assert is_patient


async def test_an_error_that_the_sdk_can_not_ask_is_replaced(prewarm: Prewarm, kms: FakeKms) -> None:
    class Uncategorized(ApplicationError):
        @property
        def category(self) -> Any:
            raise RuntimeError(self.message)

    error, is_patient = await in_activity(prewarm, Running(kms, lambda: throw(Uncategorized("in clear"))))
    assert type(error) is ApplicationError
    assert error.type == "Uncategorized"
    assert is_patient


def throw(error: BaseException) -> Any:
    raise error


class Outbound(ActivityOutboundInterceptor):
    """Where a heartbeat would be sealed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.seen: list[Any] = []

    def heartbeat(self, *details: Any) -> None:
        self.seen.append((details, patience.is_left(), stopping.get()))
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("error", [None, ValueError("in clear")])
async def test_a_heartbeat_is_sealed_with_patience_until_the_worker_stops(
    prewarm: Prewarm, kms: FakeKms, error: Exception | None
) -> None:
    running, outbound, stop = Running(kms), Outbound(error), Stop()
    token = stopping.set(stop)
    prewarm.intercept_activity(Activity(running)).init(outbound)
    stopping.reset(token)
    if error is None:
        running.outbound.heartbeat(1, 2)
    else:
        with pytest.raises(ValueError, match="in clear"):
            running.outbound.heartbeat(1, 2)
    assert outbound.seen == [((1, 2), True, stop)]
    assert stopping.get() is None
    assert not patience.is_left()


@pytest.fixture
def worker_client(monkeypatch: pytest.MonkeyPatch) -> object:
    """What the SDK gives to Nexus operations as the worker's client."""

    class Client:
        pass

    client = Client()
    monkeypatch.setattr(nexus, "client", lambda: client)
    return client


async def test_the_key_is_there_before_an_operation_starts(
    prewarm: Prewarm, kms: FakeKms, worker_client: object
) -> None:
    async def start() -> Any:
        result = await prewarm.intercept_nexus_operation(Operation(running)).execute_nexus_operation_start(
            cast(Any, None)
        )
        return result, patience.is_left()

    running = Running(kms, lambda: StartOperationResultSync("result"))
    result, is_patient = await asyncio.create_task(start())
    assert result.value == "result"
    assert is_patient
    assert running.wraps == [1]
    assert running.was_patient is False


async def test_an_operation_whose_result_can_not_be_sealed_does_not_start(
    prewarm: Prewarm, kms: FakeKms, worker_client: object
) -> None:
    kms.denied = True
    running = Running(kms)
    with pytest.raises(KeyDenied):
        await prewarm.intercept_nexus_operation(Operation(running)).execute_nexus_operation_start(cast(Any, None))
    assert running.wraps == []


async def test_an_operation_is_cancelled_without_a_key(prewarm: Prewarm, kms: FakeKms, worker_client: object) -> None:
    async def cancel() -> bool:
        await prewarm.intercept_nexus_operation(Operation(running)).execute_nexus_operation_cancel(cast(Any, None))
        return patience.is_left()

    kms.denied = True
    running = Running(kms)
    assert await asyncio.create_task(cancel())
    assert running.wraps == [0]


@pytest.mark.parametrize("call", ["execute_nexus_operation_start", "execute_nexus_operation_cancel"])
async def test_no_operation_gets_a_client_that_does_not_encrypt(kms: FakeKms, worker_client: object, call: str) -> None:
    def refuse(client: object) -> None:
        assert client is worker_client
        raise ConfigurationError("it does not encrypt")

    keyring = EnvelopeConfig(key=kms).keyring()
    running = Running(kms)
    operation = Prewarm(keyring, "default", WorkerClient(refuse)).intercept_nexus_operation(Operation(running))
    with pytest.raises(ConfigurationError, match="it does not encrypt"):
        await getattr(operation, call)(None)
    assert running.wraps == []
    keyring.close()


def marked(message: Message) -> Payload:
    name = message.DESCRIPTOR.full_name.encode()
    metadata = {"encoding": b"binary/protobuf", "messageType": name, SYSTEM_MARK: b"true"}
    return Payload(metadata=metadata, data=message.SerializeToString())


async def test_an_operation_gives_no_payload_away_by_the_sdks_mark(
    prewarm: Prewarm, kms: FakeKms, worker_client: object
) -> None:
    async def start(result: Any) -> Any:
        operation = prewarm.intercept_nexus_operation(Operation(Running(kms, lambda: result)))
        return await operation.execute_nexus_operation_start(cast(Any, None))

    payload = marked(Failure(message="pay mallory"))
    result = await start(StartOperationResultSync(RawValue(payload)))
    assert dict(result.value.payload.metadata).keys() == {"encoding", "messageType"}
    assert result.value.payload.data == payload.data
    assert payload == marked(Failure(message="pay mallory")), "the user's own stays as it is"
    for other in (StartOperationResultSync("text"), StartOperationResultSync(RawValue(Payload(data=b"x")))):
        assert await start(other) is other


async def test_the_key_before_a_nexus_operation_is_the_one_that_its_endpoint_has(
    monkeypatch: pytest.MonkeyPatch, kms: FakeKms, worker_client: object
) -> None:
    partner = FakeKms()
    asked: list[SealingContext] = []

    def resolve(context: SealingContext) -> FakeKms:
        asked.append(context)
        return partner

    config = EnvelopeConfig(key=kms, decrypt_keys=[partner], resolver=resolve, timeout=5)
    monkeypatch.setattr(nexus, "info", lambda: nexus.Info("shop", "default", "queue"))
    input = cast(Any, SimpleNamespace(ctx=SimpleNamespace(service="Shop", operation="buy")))
    with contextlib.closing(config.keyring()) as keyring:
        prewarm = Prewarm(keyring, "default", WorkerClient(lambda client: None))
        operation = prewarm.intercept_nexus_operation(Operation(Running(partner)))
        await operation.execute_nexus_operation_start(input)
    assert asked == [SealingContext("default", "", "shop", "Shop", "buy")]
    assert (kms.wraps, partner.wraps) == (0, 1)
