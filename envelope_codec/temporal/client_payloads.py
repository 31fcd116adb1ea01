"""Payloads that a client is handed ready-made: the SDK takes them for encoded, and would send them as they are."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from temporalio.api.common.v1 import Payload
from temporalio.client import (
    CreateScheduleInput,
    Interceptor,
    OutboundInterceptor,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleHandle,
    ScheduleUpdate,
    ScheduleUpdateInput,
    StartActivityInput,
    StartNexusOperationInput,
    StartWorkflowInput,
    StartWorkflowUpdateWithStartInput,
    UpdateScheduleInput,
    WorkflowHandle,
)
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    NexusSerializationContext,
    SerializationContext,
    WorkflowSerializationContext,
)

from envelope_codec._frames import frameless_async
from envelope_codec.envelope import parse
from envelope_codec.errors import MalformedEnvelope
from envelope_codec.keys.keyring import Keyring
from envelope_codec.temporal.system_payloads import is_exact_reference, is_reference

if TYPE_CHECKING:
    from temporalio.client import ActivityHandle, NexusOperationHandle, WorkflowUpdateHandle

_T = TypeVar("_T")


class ClientPayloads(Interceptor):
    """Has every `Payload` sealed that a client is given where a value belongs, unless it is sealed already.

    Put it last among interceptors, next to the network: what others add is sealed as well.

    Args:
        keyring: of the plugin that put it there.
        converter: the client's, with the plugin's codec.
        namespace: the client's.
        headers: whether the plugin seals headers.
    """

    def __init__(self, keyring: Keyring, converter: DataConverter, namespace: str, *, headers: bool) -> None:
        self.keyring = keyring
        self.converter = converter
        self.namespace = namespace
        self.headers = headers

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """See `Interceptor.intercept_client`."""
        return _ClientPayloads(next, self)


class _ClientPayloads(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, settings: ClientPayloads) -> None:
        super().__init__(next)
        self._settings = settings

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        """See `OutboundInterceptor.start_workflow`. Signal-with-start is this as well."""
        try:
            running = [super().start_workflow(await self._started(input))]
        finally:
            del input  # an error keeps this frame, here and below
        return await running.pop()

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        """See `OutboundInterceptor.start_update_with_start_workflow`."""
        try:
            start = [await self._started(input.start_workflow_input)]
            running = [super().start_update_with_start_workflow(replace(input, start_workflow_input=start.pop()))]
        finally:
            del input
        return await running.pop()

    async def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        """See `OutboundInterceptor.start_activity`."""
        context = ActivitySerializationContext(
            namespace=self._settings.namespace,
            activity_id=input.id,
            activity_type=input.activity_type,
            activity_task_queue=input.task_queue,
            workflow_id=None,
            workflow_type=None,
            is_local=False,
        )
        try:
            summary = await self._sealing(context).one(input.summary)
            running = [super().start_activity(replace(input, summary=summary))]
        finally:
            del input
        return await running.pop()

    async def start_nexus_operation(self, input: StartNexusOperationInput) -> NexusOperationHandle[Any]:
        """See `OutboundInterceptor.start_nexus_operation`."""
        context = NexusSerializationContext(endpoint=input.endpoint, service=input.service, operation=input.operation)
        try:
            summary = await self._sealing(context).one(input.summary)
            running = [super().start_nexus_operation(replace(input, summary=summary))]
        finally:
            del input
        return await running.pop()

    async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:
        """See `OutboundInterceptor.create_schedule`."""
        try:
            memo = await self._sealing(None).each(input.memo)
            sealed = [replace(input, memo=memo, schedule=await self._scheduled(input.schedule))]
            running = [super().create_schedule(sealed.pop())]
        finally:
            memo = None
            del input
        return await running.pop()

    async def update_schedule(self, input: UpdateScheduleInput) -> None:
        """See `OutboundInterceptor.update_schedule`. A described schedule sends its own envelopes back."""

        async def updated(given: ScheduleUpdateInput) -> ScheduleUpdate | None:
            update: Any = updater(given)
            if inspect.isawaitable(update):
                update = await update
            if not isinstance(update, ScheduleUpdate):
                return cast("ScheduleUpdate | None", update)
            try:
                return replace(update, schedule=await self._scheduled(update.schedule))
            finally:
                del update

        updater = input.updater
        await super().update_schedule(replace(input, updater=updated))

    @frameless_async
    async def _started(self, input: _T) -> _T:
        start: Any = input  # of a workflow, alone or with an update
        sealing = self._sealing(self._of_workflow(start.id))
        return cast(
            _T,
            replace(
                start,
                memo=await sealing.each(start.memo),
                static_summary=await sealing.one(start.static_summary),
                static_details=await sealing.one(start.static_details),
            ),
        )

    @frameless_async
    async def _scheduled(self, schedule: Schedule) -> Schedule:
        action = schedule.action
        if not isinstance(action, ScheduleActionStartWorkflow):
            return schedule
        sealing = self._sealing(self._of_workflow(action.id))
        sealed = copy.copy(action)
        sealed.args = await sealing.all(action.args)
        sealed.memo = await sealing.each(action.memo)
        sealed.static_summary = await sealing.one(action.static_summary)
        sealed.static_details = await sealing.one(action.static_details)
        # The SDK seals headers of an action that was made here, and none of one that was described.
        if self._settings.headers and getattr(action, "_from_raw", False):
            sealed.headers = await self._sealing(None).each(action.headers)
        return replace(schedule, action=sealed)

    def _of_workflow(self, workflow_id: str) -> SerializationContext:
        return WorkflowSerializationContext(namespace=self._settings.namespace, workflow_id=workflow_id)

    def _sealing(self, context: SerializationContext | None) -> _Sealing:
        converter = self._settings.converter
        return _Sealing(converter.with_context(context) if context is not None else converter)


class _Sealing:
    """Seals what is a `Payload`, and leaves the rest to the SDK."""

    def __init__(self, converter: DataConverter) -> None:
        self._codec = converter.payload_codec

    @frameless_async
    async def one(self, value: _T) -> _T:
        if self._codec is None or not isinstance(value, Payload) or _is_sealed(value):
            return value
        sealed: Any = (await self._codec.encode([value]))[0]
        return cast(_T, sealed)

    @frameless_async
    async def all(self, values: Sequence[_T]) -> Sequence[_T]:
        return [await self.one(value) for value in values] if any(map(_is_payload, values)) else values

    @frameless_async
    async def each(self, values: Mapping[str, _T] | None) -> Any:
        if values is None or not any(map(_is_payload, values.values())):
            return values
        return {name: await self.one(value) for name, value in values.items()}


def _is_payload(value: object) -> bool:
    return isinstance(value, Payload)


def _is_sealed(payload: Payload) -> bool:
    """Whether it is an envelope, or exactly a reference to where one is stored."""
    if is_reference(payload):
        return is_exact_reference(payload)
    try:
        return parse(payload.metadata, payload.data) is not None
    except MalformedEnvelope:
        return False
