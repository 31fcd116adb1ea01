"""What a client is handed as a `Payload` is sealed before it is sent."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import temporalio.client
from temporalio.api.common.v1 import Payload
from temporalio.api.schedule.v1 import Schedule as ScheduleMessage
from temporalio.api.workflow.v1 import NewWorkflowExecutionInfo
from temporalio.client import (
    Client,
    OutboundInterceptor,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    ScheduleUpdate,
    WithStartWorkflowOperation,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.converter import DataConverter, DefaultPayloadConverter

from envelope_codec import EnvelopePlugin, KeyDenied
from envelope_codec.temporal.client_payloads import ClientPayloads, _SealingCalls
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.temporal.system_payloads import is_reference
from envelope_codec.testing import FakeKms
from tests.support.frame_walker import Sentinels, leaks_of_ours

GIVEN = DefaultPayloadConverter().to_payloads(["in clear"])[0]
SPEC = ScheduleSpec()


class Sent(Exception):
    """Ends a call where it would go out."""


class Recording(temporalio.client.Interceptor):
    """Next to the network: keeps what would be sent."""

    def __init__(self) -> None:
        self.input: Any = None
        self.updater: Any = None

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _Recording(self)


class _Recording(OutboundInterceptor):
    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name == "recording":
            return super().__getattribute__(name)

        async def call(input: Any) -> Any:
            self.recording.input = input
            if name == "update_schedule":
                self.recording.updater = input.updater
                return None
            raise Sent

        return call


@pytest.fixture
async def made() -> Any:
    """A client, and what it would send."""
    recording = Recording()
    with EnvelopePlugin(FakeKms()) as plugin:
        client = await Client.connect("localhost:1", lazy=True, plugins=[plugin])
        [ours] = [one for one in client.config(active_config=True)["interceptors"] if isinstance(one, ClientPayloads)]
        client._impl = ours.intercept_client(_Recording(recording))
        yield client, recording


async def sent(call: Any) -> None:
    with pytest.raises(Sent):
        await call


async def opened(client: Client, payload: Any) -> Any:
    assert isinstance(payload, Payload)
    assert is_envelope(payload)
    return (await client.data_converter.decode([payload]))[0]


def untyped(value: Any) -> Any:
    return value


@pytest.mark.parametrize("signal", [None, "signal"])
async def test_start_of_a_workflow(made: Any, signal: str | None) -> None:
    client, recording = made
    memo = {"ready": GIVEN, "value": "v"}
    more = untyped({"static_summary": GIVEN, "static_details": GIVEN, "start_signal": signal})
    await sent(client.start_workflow("W", id="w", task_queue="q", memo=memo, **more))
    assert await opened(client, recording.input.memo["ready"]) == "in clear"
    assert recording.input.memo["value"] == "v", "the SDK seals it"
    assert await opened(client, recording.input.static_summary) == "in clear"
    assert await opened(client, recording.input.static_details) == "in clear"
    assert memo == {"ready": GIVEN, "value": "v"}, "what the caller has is not changed"


async def test_update_with_start(made: Any) -> None:
    client, recording = made
    start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
        "W",
        id="w",
        task_queue="q",
        memo={"ready": GIVEN},
        static_summary=untyped(GIVEN),
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )
    await sent(client.execute_update_with_start_workflow("u", start_workflow_operation=start))
    given = recording.input.start_workflow_input
    assert await opened(client, given.memo["ready"]) == "in clear"
    assert await opened(client, given.static_summary) == "in clear"


async def test_summary_of_a_standalone_activity(made: Any) -> None:
    client, recording = made
    more = untyped({"summary": GIVEN})
    await sent(client.start_activity("a", id="a", task_queue="q", start_to_close_timeout=timedelta(1), **more))
    assert await opened(client, recording.input.summary) == "in clear"


async def test_summary_of_a_nexus_operation(made: Any) -> None:
    client, recording = made
    nexus = client.create_nexus_client("S", "e")
    await sent(nexus.start_operation("o", 1, id="o", **untyped({"summary": GIVEN})))
    assert await opened(client, recording.input.summary) == "in clear"


def action(**more: Any) -> ScheduleActionStartWorkflow:
    return ScheduleActionStartWorkflow("W", id="w", task_queue="q", **more)


async def test_schedule(made: Any) -> None:
    client, recording = made
    given = action(args=[GIVEN, 7], memo={"ready": GIVEN}, static_summary=GIVEN, static_details=GIVEN)
    await sent(client.create_schedule("s", Schedule(action=given, spec=SPEC), memo={"own": GIVEN, "value": 1}))
    found = recording.input.schedule.action
    assert await opened(client, found.args[0]) == "in clear"
    assert found.args[1] == 7
    for payload in (found.memo["ready"], found.static_summary, found.static_details, recording.input.memo["own"]):
        assert await opened(client, payload) == "in clear"
    assert recording.input.memo["value"] == 1
    assert given.args == [GIVEN, 7], "what the caller has is not changed"


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_described_schedule_sends_its_own_back_and_what_was_added_is_sealed(
    made: Any, asynchronous: bool
) -> None:
    client, recording = made
    [own] = await client.data_converter.encode(["sealed"])
    described = NewWorkflowExecutionInfo(workflow_id="w")
    described.input.payloads.extend([own, REFERENCE])
    described.memo.fields["own"].CopyFrom(own)
    described.header.fields["own"].CopyFrom(own)

    def change(_: Any) -> ScheduleUpdate:
        changed = ScheduleActionStartWorkflow("W", raw_info=described)
        changed.args = [*changed.args, GIVEN, CLAIMED, DRESSED_UP]
        changed.headers = {**(changed.headers or {}), "added": GIVEN}
        return ScheduleUpdate(Schedule(action=changed, spec=SPEC))

    async def change_later(given: Any) -> ScheduleUpdate:
        return change(given)

    await client.get_schedule_handle("s").update(change_later if asynchronous else change)
    found = (await recording.updater(None)).schedule.action
    assert found.args[:2] == [own, REFERENCE]
    assert await opened(client, found.args[2]) == "in clear"
    assert all(map(is_envelope, found.args[3:])), "what only says that it is sealed"
    assert not any(payload in found.args for payload in (CLAIMED, DRESSED_UP))
    assert found.memo == {"own": own}
    assert found.headers["own"] == own
    assert await opened(client, found.headers["added"]) == "in clear"
    await client.get_schedule_handle("s").update(lambda _: None)
    assert await recording.updater(None) is None


REFERENCE = Payload(
    metadata={"encoding": b"json/protobuf", "messageType": b"temporal.api.sdk.v1.ExternalStorageReference"},
    data=b'{"driverName":"s3"}',
)
CLAIMED = Payload(metadata={"encoding": b"binary/envelope-v1"}, data=b"in clear")
DRESSED_UP = Payload(metadata=REFERENCE.metadata, data=b"in clear")


def test_what_is_dressed_up_here_is() -> None:
    assert is_envelope(CLAIMED)
    assert is_reference(DRESSED_UP)


async def test_headers_of_a_new_action_are_left_to_the_sdk_which_seals_them(made: Any) -> None:
    client, recording = made
    await sent(client.create_schedule("s", Schedule(action=action(headers={"h": GIVEN}), spec=SPEC)))
    assert recording.input.schedule.action.headers == {"h": GIVEN}
    message: ScheduleMessage = await recording.input.schedule._to_proto(client)
    assert await opened(client, message.action.start_workflow.header.fields["h"]) == "in clear"


@pytest.mark.parametrize(("settings", "there"), [({}, 1), ({"sealing": False}, 0)])
async def test_there_is_one_for_each_client_that_seals_and_it_is_the_last(settings: Any, there: int) -> None:
    with EnvelopePlugin(FakeKms(), **settings) as plugin:
        client = await Client.connect("localhost:1", lazy=True, plugins=[plugin], interceptors=[Recording()])
        again = Client(**client.config(active_config=True)).config(active_config=True)["interceptors"]
        assert [isinstance(one, ClientPayloads) for one in again].count(True) == there
        assert not there or isinstance(again[-1], ClientPayloads)
        elsewhere = client.config(active_config=True)
        elsewhere["namespace"] = "elsewhere"
        found = Client(**elsewhere).config(active_config=True)["interceptors"]
        assert [one.namespace for one in found if isinstance(one, ClientPayloads)] == ["elsewhere"] * there


async def test_headers_stay_in_clear_where_they_are_meant_to() -> None:
    recording = Recording()
    with EnvelopePlugin(FakeKms(), headers=False) as plugin:
        client = await Client.connect("localhost:1", lazy=True, plugins=[plugin])
        [ours] = [one for one in client.config(active_config=True)["interceptors"] if isinstance(one, ClientPayloads)]
        client._impl = ours.intercept_client(_Recording(recording))
        changed = ScheduleActionStartWorkflow("W", raw_info=NewWorkflowExecutionInfo(workflow_id="w"))
        changed.headers = {"h": GIVEN}
        await client.get_schedule_handle("s").update(lambda _: ScheduleUpdate(Schedule(action=changed, spec=SPEC)))
        assert (await recording.updater(None)).schedule.action.headers == {"h": GIVEN}


TAKES_PAYLOADS = {"memo", "static_summary", "static_details", "summary", "details", "schedule", "updater"}
ENCODED_BY_THE_SDK = {"heartbeat_async_activity", "report_cancellation_async_activity"}  # details, all of them


def test_every_call_of_the_sdks_client_that_takes_payloads_is_looked_at() -> None:
    """Fails when a release of the SDK adds one."""
    found = set()
    for name, method in inspect.getmembers(OutboundInterceptor, inspect.isfunction):
        given = inspect.signature(method).parameters.get("input")
        if given is not None and TAKES_PAYLOADS & _fields(given.annotation):
            found.add(name)
    names = {name for name in vars(OutboundInterceptor) if not name.startswith("_")}
    ours = {name for name in names if getattr(_SealingCalls, name) is not getattr(OutboundInterceptor, name)}
    assert found - ENCODED_BY_THE_SDK == ours


def _fields(annotation: str) -> set[str]:
    """The names of a call's fields, and of the fields of the calls in it."""
    kind = getattr(temporalio.client, str(annotation), None)
    if not dataclasses.is_dataclass(kind) or not str(annotation).endswith("Input"):
        return set()
    fields = dataclasses.fields(kind)
    return {field.name for field in fields}.union(*(_fields(str(field.type)) for field in fields))


async def test_payloads_that_the_sdk_converts_are_sealed_without_us() -> None:
    """Arguments, details and results may be payloads as well: those are converted as any other value."""
    with EnvelopePlugin(FakeKms()) as plugin:
        converter: DataConverter = (await Client.connect("localhost:1", lazy=True, plugins=[plugin])).data_converter
        assert all(map(is_envelope, await converter.encode([GIVEN])))


MEMO: dict[str, Any] = {"ready": GIVEN, "value": "in clear"}


FULL: dict[str, Any] = {"args": ["in clear", GIVEN], "memo": MEMO}

CALLS: dict[str, Callable[[Client], Any]] = {
    "start": lambda client: client.start_workflow("W", "in clear", memo=MEMO, id="w", task_queue="q"),
    "summary": lambda client: client.start_workflow(
        "W", "in clear", static_summary=untyped(GIVEN), id="w", task_queue="q"
    ),
    "nothing of ours": lambda client: client.start_workflow("W", "in clear", id="w", task_queue="q"),
    "update with start": lambda client: client.execute_update_with_start_workflow(
        "u",
        "in clear",
        start_workflow_operation=WithStartWorkflowOperation(
            "W", memo=MEMO, id="w", task_queue="q", id_conflict_policy=WorkflowIDConflictPolicy.FAIL
        ),
    ),
    "activity": lambda client: client.start_activity(
        "a", "in clear", id="a", task_queue="q", start_to_close_timeout=timedelta(1), summary=untyped(GIVEN)
    ),
    "schedule": lambda client: client.create_schedule("s", Schedule(action=action(**FULL), spec=SPEC), memo=MEMO),
    "schedule's action": lambda client: client.create_schedule("s", Schedule(action=action(**FULL), spec=SPEC)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_where_nothing_can_be_sealed_no_frame_of_ours_shows_what_was_given(call: Callable[[Client], Any]) -> None:
    kms = FakeKms()
    kms.denied = True
    with EnvelopePlugin(kms) as plugin:
        client = await Client.connect("localhost:1", lazy=True, plugins=[plugin])
        with pytest.raises(KeyDenied) as denied:
            await call(client)
    assert leaks_of_ours(denied.value, Sentinels(b"in clear")) == []
