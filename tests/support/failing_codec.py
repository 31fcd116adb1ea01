"""A client and a worker whose codec fails for the reasons that there are: its KMS, or what it is given to open."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

from google.protobuf.message import Message
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.common import RawValue
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from envelope_codec import EnvelopePlugin, Event
from envelope_codec.cli.demo.search import Needles
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable, MalformedEnvelope
from envelope_codec.temporal.payload_walk import payloads_in
from envelope_codec.testing import FakeKms
from tests.support.kms_connection import KmsConnection
from tests.support.payload_points import FAR, FAR_WORKFLOWS, PLAIN_WORKFLOWS, SECRET, SOON, Code, Operations
from tests.support.server_records import describe, events, eventually, result_of

_T = TypeVar("_T")

NAMESPACE = "default"
PLACE = "account-0123-cornflower"

BRIEF = {"lease": 0.2, "outage_grace": 0}
"""So that no key is at hand for long when the KMS fails."""

IMPATIENT = {"timeout": 0.4, "activity_timeout": 0.4, "refusal_ttl": 0}
"""So that the codec does not wait for long, and asks again each time."""


class Fault(NamedTuple):
    """A way in which the far codec fails.

    Attributes:
        name: for the reports of tests.
        error: what it raises.
        reason: the error's text.
        seals: whether it can still seal: only what it is to open can't be opened.
        heals: whether it is over some time.
    """

    name: str
    error: type[EnvelopeError]
    reason: str
    seals: bool
    heals: bool


NO_ANSWER = Fault("no answer", KmsUnavailable, "the KMS did not answer", seals=False, heals=True)
REFUSAL = Fault("refusal", KeyDenied, "the master key is disabled", seals=False, heals=True)
OLD_KEY_SILENT = Fault("no answer for the old key", KmsUnavailable, NO_ANSWER.reason, seals=True, heals=True)
OLD_KEY_REFUSED = Fault("refusal of the old key", KeyDenied, REFUSAL.reason, seals=True, heals=True)
CHANGED = Fault("changed payload", InvalidCiphertext, "the payload is not what was sealed", seals=True, heals=False)
CUT = Fault("cut payload", MalformedEnvelope, "the record ends too early", seals=True, heals=False)


class FailingKmsConnection(KmsConnection):
    """A connection to a KMS that has one fault, or none."""

    fault: Fault | None = None

    def _check(self, operation: str) -> None:
        fault = self.fault
        if fault is not None:
            self.refused += 1
            raise fault.error(fault.reason, operation=operation, key_id=self.key_id)


class Told(NamedTuple):
    """What somebody is told of a failure.

    Attributes:
        text: in clear.
        kind: the class of the error at its bottom, in clear.
        opened: that error's text, once opened.
    """

    text: str
    kind: str = ""
    opened: str = ""


class Events:
    """An observer that counts what happened to payloads."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def on_event(self, event: Event) -> None:
        if event.payloads:
            self.counts[event.operation, event.outcome] += 1


class Stage:
    """Two clients, and workers of two. Workflows and activities run on the far worker, unless they say otherwise.

    Attributes:
        fault: how the far codec fails, while `failing`.
        plain: knows nothing of encryption, and passes on what is sealed already.
        near: its codec does not fail.
        far: its codec does.
        events: what the far codec saw.
        payload: `SECRET`, as the near codec sealed it; damaged, if that is the fault.
        code: what runs on the far worker.
        meanwhile: how often the code had run when the codec ceased to fail.
        seen: whatever the server told of failures.
    """

    def __init__(self, fault: Fault, plain: Client, name: str) -> None:
        self.fault = fault
        self.plain = plain
        self.code = Code()
        self.events = Events()
        self.meanwhile = 0
        self.seen: list[Message] = []
        self.payload = Payload()
        self._name = name
        self._kms = FakeKms(f"fakekms://{PLACE}/key")
        self._connection = FailingKmsConnection(self._kms)

    async def set(self, connect: Any) -> Stage:
        """Make the clients, and seal the payload."""
        fault = self.fault
        if not fault.seals:
            far: Any = connect(self._connection, observer=self.events, **IMPATIENT, **BRIEF)
            near = connect(self._kms)
        elif fault.heals:
            new = FakeKms()
            far = connect(new, decrypt_keys=[self._connection], observer=self.events, **IMPATIENT)
            near = connect(self._kms, decrypt_keys=[new])
        else:
            far = connect(self._kms, observer=self.events, **IMPATIENT)
            near = connect(self._kms)
        self.far: Client
        self._plugin: EnvelopePlugin
        self.far, self._plugin = await far
        self.near: Client
        self.near, _ = await near
        (self.payload,) = await self.near.data_converter.encode([SECRET])
        if fault is CHANGED:
            self.payload.data = self.payload.data[:-1] + bytes([self.payload.data[-1] ^ 1])
        elif fault is CUT:
            record = self.payload.metadata["encryption-wrapped-key"]
            self.payload.metadata["encryption-wrapped-key"] = record[:-1]
        return self

    @asynccontextmanager
    async def workers(self) -> AsyncIterator[None]:
        """The far worker, and a plain one."""

        @activity.defn(name="hand over")
        async def hand_over() -> RawValue:
            return RawValue(self.payload)

        unsandboxed = UnsandboxedWorkflowRunner()  # which saves most of a test's time
        async with (
            Worker(
                self.far,
                task_queue=self._name + FAR,
                workflows=FAR_WORKFLOWS,
                activities=self.code.activities,
                nexus_service_handlers=[Operations(self.code)],
                workflow_runner=unsandboxed,
                max_heartbeat_throttle_interval=timedelta(milliseconds=50),
            ),
            Worker(
                self.plain,
                task_queue=self._name,
                workflows=PLAIN_WORKFLOWS,
                activities=[hand_over],
                workflow_runner=unsandboxed,
            ),
        ):
            await self._plugin.keyring.prewarm(NAMESPACE)
            try:
                yield
            finally:
                self.code.go_on.set()  # the worker's shutdown waits for what runs

    @asynccontextmanager
    async def failing(self) -> AsyncIterator[None]:
        """Meanwhile the far codec fails."""
        await self._plugin.keyring.prewarm(NAMESPACE)
        self._connection.fault = self.fault
        if not self.fault.seals:
            await lapsed(self._plugin)
        try:
            yield
        finally:
            self.meanwhile = self.code.runs
            self._connection.fault = None

    async def start(self, workflow: str, **options: Any) -> WorkflowHandle[Any, Any]:
        """Start a workflow on the far worker. It is given the payload, if it takes an input."""
        args = [RawValue(self.payload)] if workflow == "Hello" else []
        return await self.plain.start_workflow(
            workflow, args=args, id=self._name, task_queue=self._name + FAR, task_timeout=SOON, **options
        )

    async def start_by(self, client: Client) -> WorkflowHandle[Any, Any]:
        """Start a workflow on the far worker that is given `SECRET`."""
        return await client.start_workflow("Hello", SECRET, id=self._name, task_queue=self._name + FAR)

    async def start_passing(self, to: str, **options: Any) -> WorkflowHandle[Any, Any]:
        """Start a workflow that passes the payload on."""
        args = [to, RawValue(self.payload)]
        return await self.plain.start_workflow("Pass", args=args, id=self._name, task_queue=self._name, **options)

    async def start_calling(self, operation: str) -> WorkflowHandle[Any, Any]:
        """Start a workflow that calls a Nexus operation with the payload."""
        worker = EndpointTarget.Worker(namespace=NAMESPACE, task_queue=self._name + FAR)
        spec = EndpointSpec(name=f"e{self._name}", target=EndpointTarget(worker=worker))
        await self.plain.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))
        args = [operation, spec.name, RawValue(self.payload)]
        return await self.plain.start_workflow("Call", args=args, id=self._name, task_queue=self._name)

    async def say_and_end(self) -> None:
        """Tell `Converse` the text that it returns, and to do so."""
        handle = self.handle(self.near)
        await handle.signal("say", SECRET)
        await handle.signal("end")

    def handle(self, client: Client) -> WorkflowHandle[Any, Any]:
        return client.get_workflow_handle(self._name, result_type=str)

    async def idle(self) -> None:
        """Wait until the workflow has begun to wait."""

        async def begun() -> bool:
            return any(event.HasField("workflow_task_completed_event_attributes") for event in await self._events())

        await eventually(begun, "the first workflow task")

    # --- what is told of a failure --------------------------------------------------------------------------------

    async def failed_task(self, suffix: str = "") -> Told:
        """The first workflow task that fails, also of the workflow with this suffix to its id."""
        return await self._event("workflow_task_failed_event_attributes", suffix)

    async def failed_activity(self) -> Told:
        """The activity's end in failure."""
        return await self._event("activity_task_failed_event_attributes")

    async def failed_attempt(self, attempts: int = 1) -> Told:
        """So many failed attempts at the activity."""

        async def failed() -> Failure | None:
            description = await describe(self.plain, self._name)
            pending = [one for one in description.pending_activities if one.attempt > attempts]
            return pending[0].last_failure if pending and pending[0].HasField("last_failure") else None

        return await self._read(await eventually(failed, "failed attempts"))

    async def failed_operation(self) -> Told:
        """A failed attempt at the Nexus operation."""

        async def failed() -> Failure | None:
            for one in (await describe(self.plain, self._name)).pending_nexus_operations:
                if one.HasField("last_attempt_failure"):
                    return one.last_attempt_failure
            return None

        return await self._read(await eventually(failed, "a failed attempt"))

    async def failed_seal(self) -> Told:
        """A failure of which the server is told nothing: only the log has it, and the metrics."""
        name = self.fault.error.__name__

        async def failed() -> bool:
            return self.events.counts["seal", name] > 1

        await eventually(failed, "failures to seal")
        return Told("")

    async def served(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """What a caller gets who calls again and again: the codec fails no longer, but has little patience."""

        async def served() -> tuple[_T] | None:
            try:
                return (await call(),)
            except (EnvelopeError, WorkflowQueryFailedError):
                return None

        [result] = await eventually(served, "a call that the codec no longer fails")
        return result

    async def raised(self, call: Awaitable[Any]) -> Told:
        """What a caller gets."""
        try:
            result = await call
        except Exception as error:
            return Told(str(error), type(error).__name__)
        raise AssertionError(f"it succeeded: {result}")

    async def _event(self, attributes: str, suffix: str = "") -> Told:
        async def failed() -> Failure | None:
            for event in await self._events(suffix):
                if event.HasField(attributes):  # type: ignore[arg-type]
                    failure: Failure = getattr(event, attributes).failure
                    return failure
            return None

        return await self._read(await eventually(failed, attributes))

    async def _events(self, suffix: str = "") -> Sequence[HistoryEvent]:
        """What there is of the history."""
        with suppress(RPCError):
            return await events(self.plain, self._name + suffix)
        return []

    async def _read(self, failure: Failure) -> Told:
        self.seen.append(failure)
        bottom = failure
        while bottom.HasField("cause"):
            bottom = bottom.cause
        error: BaseException | None = await self.near.data_converter.decode_failure(failure)
        text = ""
        while error is not None:
            text, error = str(error), error.__cause__
        kind = bottom.application_failure_info.type
        return Told(failure.message, kind, text.removeprefix(f"{kind}: "))

    # --- the end --------------------------------------------------------------------------------------------------

    async def end(self, expected: WorkflowExecutionStatus) -> WorkflowExecutionStatus | None:
        """How the workflow ends; its result is `SECRET`, or holds it. One that is expected to run on is terminated."""
        handle = self.handle(self.near)
        if expected == WorkflowExecutionStatus.RUNNING:
            status = (await handle.describe()).status
            await self.handle(self.plain).terminate()
            return status
        try:
            assert SECRET in await result_of(handle)
        except WorkflowFailureError:
            pass
        except EnvelopeError:
            assert not self.fault.heals
        return (await handle.describe()).status

    async def nothing_in_clear(self, *suffixes: str) -> None:
        """Neither key nor plaintext is in what the server told, and nobody's cancellation got into it."""
        for suffix in ("", *suffixes):
            history = await self.plain.get_workflow_handle(self._name + suffix).fetch_history()
            self.seen += [*history.events, await describe(self.plain, self._name + suffix)]
        plaintext = Needles([SECRET])
        others = Needles([PLACE, self._kms.key_id, "CancelledError"])
        for message in self.seen:
            assert plaintext.find_in(message.SerializeToString()) == set()
            assert others.find_in(without_payloads(message)) == set()


async def lapsed(plugin: EnvelopePlugin) -> None:
    """Wait until the plugin has no key to seal with at hand."""

    async def none_at_hand() -> bool:
        return plugin.keyring.try_sealing_key(NAMESPACE) is None

    await eventually(none_at_hand, "the lease's end")


def without_payloads(message: Message) -> bytes:
    """The bytes of a message without its payloads, whose metadata name the key on purpose."""
    copy = type(message)()
    copy.CopyFrom(message)
    for payload in list(payloads_in(copy)):
        payload.Clear()
    return copy.SerializeToString()
