"""What keeps plaintext out: of a worker that does not encrypt, and of a namespace that requires encryption."""

from __future__ import annotations

import asyncio
import re
import shlex
import uuid
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from devstack import TemporalServer
from localserver import find_program
from temporalio import activity
from temporalio.api.common.v1 import Link, Payload, WorkflowExecution
from temporalio.api.enums.v1 import EventType, TaskQueueType
from temporalio.api.failure.v1 import Failure
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
)
from temporalio.client import (
    ActivityExecutionStatus,
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import RawValue, RetryPolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.exceptions import ApplicationError, TerminatedError
from temporalio.service import RPCError
from temporalio.worker import Replayer, Worker

from envelope_codec import ConfigurationError, EncryptionRequired, EnvelopePlugin
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.temporal.payload_walk import payloads_in
from envelope_codec.temporal.system_payloads import CORE_MARKERS, describe_clear_payload
from envelope_codec.testing import FakeKms
from tests.support.context_header import ContextHeader
from tests.support.guarded_workflows import CancelsEarly, Exempt, Guarded
from tests.support.memory_storage_driver import MemoryDriver, storage
from tests.support.server_records import events, eventually, query_result, result_of
from tests.support.small_workflows import Delegate, Hello, Listen, Work

ADOPTION = Path(__file__).resolve().parents[2] / "docs" / "adoption.md"
SOON = timedelta(seconds=1)
"""The server hands out a failed workflow task again after so long."""
PLAINTEXT = "marigold in plaintext"


async def test_worker_of_a_client_that_does_not_encrypt_polls_nothing(
    connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    client, plugin = await connect(kms)
    handle = await client.start_workflow(Hello.run, "Ada", id=name, task_queue=name)
    with pytest.raises(ConfigurationError, match=r"give EnvelopePlugin to Client.connect\(…, plugins=\[…\]\)"):
        Worker(plain, task_queue=name, workflows=[Hello], plugins=[plugin])
    request = DescribeTaskQueueRequest(
        namespace="default",
        task_queue=TaskQueue(name=name),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    assert not (await plain.workflow_service.describe_task_queue(request)).pollers
    untouched = [EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED]
    assert [event.event_type for event in await events(plain, name)] == untouched
    async with Worker(client, task_queue=name, workflows=[Hello]):
        assert await handle.result() == "Hello, Ada!"


class Breaking(PayloadCodec):
    """An application's own, which can't encode."""

    async def encode(self, payloads: Any) -> list[Payload]:
        raise ApplicationError(PLAINTEXT, non_retryable=True)

    async def decode(self, payloads: Any) -> list[Payload]:
        return list(payloads)


async def test_history_has_no_word_of_what_an_applications_codec_raises(
    connect: Any, plain: Client, name: str, kms: FakeKms, caplog: pytest.LogCaptureFixture
) -> None:
    client, _ = await connect(kms)
    broken, _ = await connect(kms, data_converter=replace(DataConverter.default, payload_codec=Breaking()))
    work = Work()
    async with Worker(broken, task_queue=name, workflows=[Hello], activities=[work.echo]):
        handle = await client.start_workflow(Hello.run, "Ada", id=name, task_queue=name, task_timeout=SOON)
        failure = await failed_task(plain, name)
        assert failure.message == "Failed encoding completion: the application's payload codec failed"
        delegating = await client.start_workflow(
            Delegate.run, args=["echo", name, "Ada"], id=f"{name} delegate", task_queue=f"{name} well"
        )
        async with Worker(client, task_queue=f"{name} well", workflows=[Delegate]):

            async def attempted() -> Failure | None:
                pending = (await delegating.describe()).raw_description.pending_activities
                return pending[0].last_failure if pending and pending[0].attempt > 1 else None

            failure = await eventually(attempted, "a second attempt")
            assert failure.message == "Failed building exception result: the application's payload codec failed"
        for one in (handle, delegating):
            assert (
                PLAINTEXT.encode()
                not in (await plain.get_workflow_handle(one.id).describe()).raw_description.SerializeToString()
            )
            assert all(PLAINTEXT.encode() not in event.SerializeToString() for event in await events(plain, one.id))
            await one.terminate()
    assert PLAINTEXT in caplog.text


# --- what Temporal writes in clear ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nexus_server(run_server: Any) -> Iterator[TemporalServer]:
    """One that lets a workflow signal with start, a Nexus operation of the server's own, and runs activities alone."""
    feature = {"history.enableSignalWithStartFromWorkflow": "true", "activity.enableStandalone": "true"}
    with run_server(TemporalServer(db=False, dynamic_config=feature)) as server:
        yield server


@pytest.mark.parametrize("threshold", [None, 0], ids=["inline", "external storage"])
async def test_what_temporal_itself_writes_in_clear_passes_where_encryption_is_required(
    threshold: int | None, nexus_server: TemporalServer, name: str, kms: FakeKms
) -> None:
    shelf, work = MemoryDriver(), Work()
    converter = DataConverter.default
    if threshold is not None:
        converter = replace(converter, external_storage=storage(shelf, threshold))
    plain = await Client.connect(nexus_server.address)
    with EnvelopePlugin(kms, require_encryption=True, startup_jitter=0) as plugin:
        client = await Client.connect(nexus_server.address, data_converter=converter, plugins=[plugin])
        async with Worker(
            client, task_queue=name, workflows=[Exempt, Listen], activities=[work.echo], max_cached_workflows=0
        ):
            run = client.execute_workflow(Exempt.run, args=["a text", f"{name} other"], id=name, task_queue=name)
            assert await asyncio.wait_for(run, 60) == "echo of a text"
            other = client.get_workflow_handle(f"{name} other", result_type=str)
            assert await result_of(other) == "echo of a text"

        stored = await events(plain, name)
        markers = {event.marker_recorded_event_attributes.marker_name for event in stored} - {""}
        assert markers == set(CORE_MARKERS)
        passed = {describe_clear_payload(payload) for event in stored for payload in payloads_in(event)} - {None}
        references = {"reference to external storage"} if threshold == 0 else set[str]()
        assert passed == {"system Nexus envelope", *references}
        assert bool(shelf.stored) == (threshold == 0)
        assert all(map(is_envelope, shelf.stored))

        replayer = Replayer(workflows=[Exempt, Listen], data_converter=converter, plugins=[plugin])
        for workflow_id in (name, f"{name} other"):
            history = await plain.get_workflow_handle(workflow_id).fetch_history()
            await replayer.replay_workflow(history)


async def test_what_the_server_says_itself_passes_where_encryption_is_required(
    nexus_server: TemporalServer, name: str, kms: FakeKms
) -> None:
    settings = EnvelopePlugin(kms, require_encryption=True, startup_jitter=0)
    client = await Client.connect(nexus_server.address, plugins=[settings])
    async with Worker(client, task_queue=name, workflows=[Guarded, CancelsEarly]):
        first = await client.start_workflow(Guarded.run, "sealed", id=name, task_queue=name)
        conflict, reuse = WorkflowIDConflictPolicy.TERMINATE_EXISTING, WorkflowIDReusePolicy.TERMINATE_IF_RUNNING
        second = await client.start_workflow(Guarded.run, "x", id=name, task_queue=name, id_conflict_policy=conflict)
        third = await client.start_workflow(Guarded.run, "x", id=name, task_queue=name, id_reuse_policy=reuse)
        for ended, successor in ((first, second), (second, third)):
            run = client.get_workflow_handle(name, run_id=ended.result_run_id)
            with pytest.raises(WorkflowFailureError) as failed:
                await result_of(run)
            assert isinstance(failed.value.cause, TerminatedError)
            assert failed.value.cause.details == (f"terminated by new runID: {successor.result_run_id}",)
        await third.signal(Guarded.leave)

        cancelling = await client.start_workflow(CancelsEarly.run, id=f"{name} early", task_queue=name)
        assert await result_of(cancelling) == ["ACTIVITY_ID_NOT_STARTED"]


async def test_a_reason_that_comes_back_in_clear_is_refused(
    nexus_server: TemporalServer, name: str, kms: FakeKms
) -> None:
    """The server makes details of the reason that a standalone activity is cancelled for before it begins."""
    client = await Client.connect(
        nexus_server.address, plugins=[EnvelopePlugin(kms, require_encryption=True, startup_jitter=0)]
    )
    handle = await client.start_activity("any", id=name, task_queue=name, schedule_to_close_timeout=SOON * 100)
    await handle.cancel(reason="not needed")
    with pytest.raises(EncryptionRequired):
        await handle.result()
    found = await handle.describe()
    assert found.status == ActivityExecutionStatus.CANCELED
    assert found.raw_info.canceled_reason == "not needed"


async def test_activity_gets_no_client_that_a_worker_was_given_past_the_plugin(
    nexus_server: TemporalServer, name: str, kms: FakeKms, caplog: pytest.LogCaptureFixture
) -> None:
    plain = await Client.connect(nexus_server.address)
    client = await Client.connect(nexus_server.address, plugins=[EnvelopePlugin(kms, startup_jitter=0)])

    @activity.defn
    async def start_another() -> None:
        await activity.client().start_workflow(Hello.run, "Ada", id=f"{name} other", task_queue=name)

    again = RetryPolicy(initial_interval=timedelta(milliseconds=50), backoff_coefficient=1)
    async with Worker(client, task_queue=name, activities=[start_another], workflows=[Hello]) as worker:
        assert await client.execute_workflow(Hello.run, "Bob", id=f"{name} first", task_queue=name) == "Hello, Bob!"
        worker.client = Client(plain.service_client)
        handle = await client.start_activity(
            start_another, id=name, task_queue=name, start_to_close_timeout=timedelta(minutes=1), retry_policy=again
        )

        async def refused() -> bool:
            return (await handle.describe()).raw_info.attempt > 1

        await eventually(refused, "a second attempt")
        assert "the worker was given another client" in caplog.text
        with pytest.raises(RPCError):
            await plain.get_workflow_handle(f"{name} other").describe()
        worker.client = client
        await handle.result()
        assert await client.get_workflow_handle(f"{name} other").result() == "Hello, Ada!"


# --- what an operator, or who has broken in there, writes in clear ----------------------------------------------------


async def failed_task(plain: Client, workflow_id: str) -> Failure:
    """Why the first workflow task failed that did."""

    async def failed() -> Failure | None:
        for event in await events(plain, workflow_id):
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                return event.workflow_task_failed_event_attributes.failure
        return None

    return await eventually(failed, "a failed workflow task")


async def refusal(plain: Client, workflow_id: str) -> None:
    """Wait until a workflow task fails for plaintext. Its failure does not repeat what it refused."""
    failure = await failed_task(plain, workflow_id)
    assert failure.application_failure_info.type == "EncryptionRequired"
    assert PLAINTEXT.encode() not in failure.SerializeToString()


async def begin(client: Client, name: str) -> WorkflowHandle[Any, Any]:
    """A workflow that has done its first task."""
    handle = await client.start_workflow(Guarded.run, "sealed", id=name, task_queue=name, task_timeout=SOON)
    assert await handle.query(Guarded.heard, "?") == ["str sealed", "str ?"]
    return handle


async def reset(server: TemporalServer, workflow_id: str) -> None:
    """Run the workflow anew from its last task that went well, without signals and updates that came later."""
    (commands,) = re.findall(r"```sh\n(temporal workflow reset .*?)```", ADOPTION.read_text("utf-8"), re.DOTALL)
    program = find_program("temporal")
    assert program is not None
    command = [
        program if word == "temporal" else workflow_id if word == "order-7" else word for word in shlex.split(commands)
    ]
    resetting = await asyncio.create_subprocess_exec(*command, "--address", server.address, stdout=PIPE, stderr=STDOUT)
    output, _ = await resetting.communicate()
    assert resetting.returncode == 0, output.decode()


@pytest.mark.parametrize("how", ["input", "header"])
async def test_start_in_plaintext_is_refused(how: str, connect: Any, plain: Client, name: str, kms: FakeKms) -> None:
    client, _ = await connect(kms, require_encryption=True)
    argument: Any = PLAINTEXT
    if how == "header":
        config = plain.config()
        config["interceptors"] = [ContextHeader(PLAINTEXT)]
        plain = Client(**config)
        argument = RawValue((await client.data_converter.encode(["sealed"]))[0])
    async with Worker(client, task_queue=name, workflows=[Guarded]):
        handle = await plain.start_workflow(Guarded.run, argument, id=name, task_queue=name, task_timeout=SOON)
        await refusal(plain, name)
        await handle.terminate()
        assert (await handle.describe()).status == WorkflowExecutionStatus.TERMINATED


async def test_query_in_plaintext_is_answered_with_an_error(
    connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    client, _ = await connect(kms, require_encryption=True)
    async with Worker(client, task_queue=name, workflows=[Guarded]):
        handle = await begin(client, name)
        with pytest.raises(WorkflowQueryFailedError) as failed:
            await plain.get_workflow_handle(name).query("heard", PLAINTEXT)
        assert PLAINTEXT not in str(failed.value)
        assert await handle.query(Guarded.heard, "?") == ["str sealed", "str ?"]
        await handle.signal(Guarded.leave)
        assert await handle.result() == ["str sealed"]
    failed_tasks = [e for e in await events(plain, name) if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED]
    assert failed_tasks == []


@pytest.mark.parametrize("how", ["signal", "update"])
async def test_after_a_signal_or_update_in_plaintext_a_reset_lets_the_workflow_go_on(
    how: str, connect: Any, plain: Client, temporal_server: TemporalServer, name: str, kms: FakeKms
) -> None:
    client, _ = await connect(kms, require_encryption=True)
    async with Worker(client, task_queue=name, workflows=[Guarded]):
        handle = await begin(client, name)
        intruder = plain.get_workflow_handle(name)
        updating = None
        if how == "signal":
            await intruder.signal("say", PLAINTEXT)
        else:
            updating = asyncio.ensure_future(intruder.execute_update("change", PLAINTEXT))
        await refusal(plain, name)
        if updating is not None:
            updating.cancel()
            with pytest.raises((asyncio.CancelledError, WorkflowUpdateRPCTimeoutOrCancelledError)):
                await updating
        await reset(temporal_server, name)
        handle = client.get_workflow_handle_for(Guarded.run, name)
        await handle.signal(Guarded.leave)
        assert await result_of(handle) == ["str sealed"]
        replayer = Replayer(workflows=[Guarded], plugins=client.config()["plugins"])
        await replayer.replay_workflow(await plain.get_workflow_handle(name).fetch_history())


async def test_after_an_activitys_result_in_plaintext_a_reset_runs_the_activity_again(
    connect: Any, plain: Client, temporal_server: TemporalServer, name: str, kms: FakeKms
) -> None:
    work = Work()
    client, _ = await connect(kms, require_encryption=True)
    async with Worker(client, task_queue=name, workflows=[Delegate], activities=[work.wait]):
        started = await client.start_workflow(
            Delegate.run, args=["wait", name, "care"], id=name, task_queue=name, task_timeout=SOON
        )
        await asyncio.wait_for(work.begun.wait(), 60)
        run_id = started.first_execution_run_id
        await plain.get_async_activity_handle(workflow_id=name, run_id=run_id, activity_id="1").complete(PLAINTEXT)
        await refusal(plain, name)
        work.go_on.set()
        await reset(temporal_server, name)
        handle = client.get_workflow_handle_for(Delegate.run, name)
        assert await result_of(handle) == "waited with care"
    assert work.attempts == [1, 1]


async def test_worker_that_does_not_require_encryption_takes_a_signal_in_plaintext(
    connect: Any, plain: Client, name: str, kms: FakeKms
) -> None:
    """But it has to see the workflow through: what is in its history stays there."""
    client, strict = await connect(kms, require_encryption=True)
    lenient, _ = await connect(kms)
    async with Worker(client, task_queue=name, workflows=[Guarded]):
        handle = await begin(client, name)
        await plain.get_workflow_handle(name).signal("say", PLAINTEXT)
        await refusal(plain, name)
    async with Worker(lenient, task_queue=name, workflows=[Guarded]):
        await handle.signal(Guarded.leave)
        assert await result_of(handle) == ["str sealed", f"str {PLAINTEXT}"]
    history = await plain.get_workflow_handle(name).fetch_history()
    with pytest.raises(EncryptionRequired, match="encryption is required"):
        await Replayer(workflows=[Guarded], plugins=[strict]).replay_workflow(history)


async def test_result_in_plaintext_is_refused(connect: Any, plain: Client, name: str, kms: FakeKms) -> None:
    """As by somebody's own worker on the task queue."""
    client, _ = await connect(kms, require_encryption=True)
    async with Worker(plain, task_queue=name, workflows=[Hello]):
        await plain.execute_workflow(Hello.run, PLAINTEXT, id=name, task_queue=name)
    with pytest.raises(EncryptionRequired, match="encryption is required"):
        await client.get_workflow_handle(name).result()


async def test_plaintext_in_external_storage_is_refused(connect: Any, plain: Client, name: str, kms: FakeKms) -> None:
    """Whoever writes to the storage gets no further than who writes to Temporal."""
    shelf = MemoryDriver()
    converter = replace(DataConverter.default, external_storage=storage(shelf, 0))
    client, _ = await connect(kms, data_converter=converter, require_encryption=True)
    handle = await client.start_workflow(Guarded.run, "sealed", id=name, task_queue=name, task_timeout=SOON)
    (sealed,) = shelf.stored
    shelf.stored[0] = _json()()
    async with Worker(client, task_queue=name, workflows=[Guarded]):
        await refusal(plain, name)
        shelf.stored[0] = sealed
        await handle.signal(Guarded.leave)
        assert await result_of(handle) == ["str sealed"]


def _json(text: str = PLAINTEXT, **metadata: bytes) -> Callable[[], Payload]:
    return lambda: Payload(metadata={"encoding": b"json/plain", **metadata}, data=f'"{text}"'.encode())


def _message(message: Any, *, encoding: bytes = b"binary/protobuf", **metadata: bytes) -> Callable[[], Payload]:
    kind = message.DESCRIPTOR.full_name.encode()
    data = message.SerializeToString()
    return lambda: Payload(metadata={"encoding": encoding, "messageType": kind, **metadata}, data=data)


MARK: Any = {"__temporal_system_payload": b"true"}
REFERENCE: Any = {"__temporal_external_storage_reference": b"true"}
DRESSED_UP = {
    "system mark": _json(**MARK),
    "reference mark": _json(**REFERENCE),
    "both marks": _json(**MARK, **REFERENCE),
    "old reference": lambda: Payload(
        metadata={"encoding": b"json/external-storage-reference"}, data=f'"{PLAINTEXT}"'.encode()
    ),
    "reference": lambda: Payload(
        metadata={
            "encoding": b"json/protobuf",
            "messageType": ExternalStorageReference.DESCRIPTOR.full_name.encode(),
        },
        data=f'{{"driverName": "{PLAINTEXT}"}}'.encode(),
    ),
    "unmarked request": _message(SignalWithStartWorkflowExecutionRequest(workflow_id=PLAINTEXT)),
    "marked payload": _message(_json()(), **MARK),
    "marked message of another kind": _message(WorkflowExecution(workflow_id=PLAINTEXT), **MARK),
    "message of another kind": _message(WorkflowExecution(workflow_id=PLAINTEXT)),
    "request": _message(SignalWithStartWorkflowExecutionRequest(workflow_id=PLAINTEXT), **MARK),
    "response": _message(SignalWithStartWorkflowExecutionResponse(run_id=PLAINTEXT)),
    "details": _json(f"terminated by new runID: {PLAINTEXT}"),
}
RUN_ID = str(uuid.uuid4())
LINK = Link(workflow_event=Link.WorkflowEvent(workflow_id=PLAINTEXT))


async def test_plaintext_does_not_pass_under_the_names_of_what_is_exempt(
    connect: Any, plain: Client, temporal_server: TemporalServer, name: str, kms: FakeKms
) -> None:
    client, _ = await connect(kms, require_encryption=True)
    async with Worker(client, task_queue=name, workflows=[Guarded]):
        await begin(client, name)
        intruder = plain.get_workflow_handle(name)
        for what, payload in DRESSED_UP.items():
            with pytest.raises(WorkflowQueryFailedError):
                print(what, await intruder.query("heard", RawValue(payload())))
        # It is a message of Temporal's own, and arrives as that message, without a word that anyone could choose.
        answer = _message(SignalWithStartWorkflowExecutionResponse(run_id=RUN_ID, signal_link=LINK))()
        ((*_, heard),) = await client.data_converter.decode([await query_result(plain, name, "heard", answer)])
        assert heard.splitlines() == [f'SignalWithStartWorkflowExecutionResponse run_id: "{RUN_ID}"']
        await intruder.signal("say", RawValue(DRESSED_UP["system mark"]()))
        assert PLAINTEXT.encode() not in (await failed_task(plain, name)).SerializeToString()
        await reset(temporal_server, name)
        handle = client.get_workflow_handle_for(Guarded.run, name)
        await handle.signal(Guarded.leave)
        assert await result_of(handle) == ["str sealed"]
