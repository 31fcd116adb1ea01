"""Payloads that a client is handed ready-made. The SDK takes them for encoded, and would send them as they are."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Interceptor,
    OutboundInterceptor,
    ScheduleActionStartWorkflow,
    StartActivityInput,
    StartNexusOperationInput,
)
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    NexusSerializationContext,
    SerializationContext,
    WorkflowSerializationContext,
)

from envelope_codec._frames import frameless_async
from envelope_codec.keys.keyring import Keyring
from envelope_codec.temporal.client_calls import ClientCalls
from envelope_codec.temporal.sealed_payload import is_sealed

if TYPE_CHECKING:
    from temporalio.client import ActivityHandle, NexusOperationHandle

    from envelope_codec.temporal.client_calls import AnyStart

_T = TypeVar("_T")


class ClientPayloads(Interceptor):
    """Has every `Payload` sealed that a client is given where a value belongs, unless it is sealed already.

    Put it last among interceptors, next to the network: what others add is sealed as well.

    Args:
        keyring: the keyring of the plugin that put it there.
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
        """Put the sealing of ready-made payloads before ``next``."""
        return _SealingCalls(next, self)


def drop_client_payloads(interceptors: Sequence[Interceptor], keyring: Keyring) -> list[Interceptor]:
    """Return ``interceptors`` without each `ClientPayloads` that has ``keyring``."""
    return [each for each in interceptors if not (isinstance(each, ClientPayloads) and each.keyring is keyring)]


class _SealingCalls(ClientCalls):
    """Each method of the SDK's client that takes a ready-made payload in place of a value."""

    def __init__(self, next: OutboundInterceptor, interceptor: ClientPayloads) -> None:
        super().__init__(next)
        self._interceptor = interceptor

    async def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        """Seal the summary of an activity that no workflow starts."""
        context = ActivitySerializationContext(
            namespace=self._interceptor.namespace,
            activity_id=input.id,
            activity_type=input.activity_type,
            activity_task_queue=input.task_queue,
            workflow_id=None,
            workflow_type=None,
            is_local=False,
        )
        try:
            summary = await self._sealer(context).seal(input.summary)
            running = [super().start_activity(replace(input, summary=summary))]
        finally:
            del input  # an error keeps this frame, here and below
        return await running.pop()

    async def start_nexus_operation(self, input: StartNexusOperationInput) -> NexusOperationHandle[Any]:
        """Seal the summary of a Nexus operation that no workflow starts."""
        context = NexusSerializationContext(endpoint=input.endpoint, service=input.service, operation=input.operation)
        try:
            summary = await self._sealer(context).seal(input.summary)
            running = [super().start_nexus_operation(replace(input, summary=summary))]
        finally:
            del input
        return await running.pop()

    @frameless_async
    async def change_start(self, start: AnyStart) -> AnyStart:
        """Seal memo, summary and details."""
        sealer = self._workflow_sealer(start.id)
        memo = await sealer.seal_map(start.memo)
        summary = await sealer.seal(start.static_summary)
        return replace(start, memo=memo, static_summary=summary, static_details=await sealer.seal(start.static_details))

    @frameless_async
    async def change_schedule_memo(self, memo: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Seal the fields of a schedule's own memo, which belongs to no workflow."""
        return await self._sealer(None).seal_map(memo)

    @frameless_async
    async def change_action(self, action: ScheduleActionStartWorkflow) -> ScheduleActionStartWorkflow:
        """Seal what the action holds. The action of a described schedule holds envelopes, which stay."""
        sealer = self._workflow_sealer(action.id)
        sealed = copy.copy(action)
        sealed.args = await sealer.seal_list(action.args)
        sealed.memo = await sealer.seal_map(action.memo)
        sealed.static_summary = await sealer.seal(action.static_summary)
        sealed.static_details = await sealer.seal(action.static_details)
        # The SDK seals headers of an action that was made here, and none of one that was described.
        if self._interceptor.headers and getattr(action, "_from_raw", False):
            sealed.headers = await self._sealer(None).seal_map(action.headers)
        return sealed

    def _workflow_sealer(self, workflow_id: str) -> _Sealer:
        return self._sealer(
            WorkflowSerializationContext(namespace=self._interceptor.namespace, workflow_id=workflow_id)
        )

    def _sealer(self, context: SerializationContext | None) -> _Sealer:
        converter = self._interceptor.converter
        return _Sealer(converter.with_context(context) if context is not None else converter)


class _Sealer:
    """Seals what is a `Payload`, and leaves the rest to the SDK."""

    def __init__(self, converter: DataConverter) -> None:
        self._codec = converter.payload_codec

    @frameless_async
    async def seal(self, value: _T) -> _T:
        if self._codec is None or not isinstance(value, Payload) or is_sealed(value):
            return value
        sealed: Any = (await self._codec.encode([value]))[0]
        return cast(_T, sealed)

    @frameless_async
    async def seal_list(self, values: Sequence[_T]) -> Sequence[_T]:
        return [await self.seal(value) for value in values] if any(map(_is_payload, values)) else values

    @frameless_async
    async def seal_map(self, values: Mapping[str, _T] | None) -> Mapping[str, _T] | None:
        if values is None or not any(map(_is_payload, values.values())):
            return values
        return {name: await self.seal(value) for name, value in values.items()}


def _is_payload(value: object) -> bool:
    return isinstance(value, Payload)
