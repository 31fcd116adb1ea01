"""Leaves null memo fields out of what a client sends, as Temporal's server would leave them out."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, cast

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
    StartWorkflowInput,
    StartWorkflowUpdateWithStartInput,
    UpdateScheduleInput,
    WorkflowHandle,
    WorkflowUpdateHandle,
)
from temporalio.converter import (
    DataConverter,
    PayloadConverter,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from envelope_codec.temporal.client_check import client_of
from envelope_codec.temporal.memo import is_dropped


class NullMemos(Interceptor):
    """Leaves null memo fields out. Put it behind the interceptors that may add some."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """See `Interceptor.intercept_client`."""
        return _NullMemos(next)


class _NullMemos(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        try:
            input.memo = self._kept(input.memo, input.id)
            running = [super().start_workflow(input)]
        finally:
            del input  # an error keeps this frame, here and below
        return await running.pop()

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        try:
            start = input.start_workflow_input
            start.memo = self._kept(start.memo, start.id)
            running = [super().start_update_with_start_workflow(input)]
        finally:
            start = None  # type: ignore[assignment]
            del input
        return await running.pop()

    async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:
        try:
            input.memo = self._kept(input.memo, None)
            input.schedule = self._settled(input.schedule)
            running = [super().create_schedule(input)]
        finally:
            del input
        return await running.pop()

    async def update_schedule(self, input: UpdateScheduleInput) -> None:
        updater = input.updater

        async def settling(given: ScheduleUpdateInput) -> ScheduleUpdate | None:
            update = updater(given)
            if inspect.isawaitable(update):
                update = await update
            return update and dataclasses.replace(update, schedule=self._settled(update.schedule))

        input.updater = settling
        await super().update_schedule(input)

    def _settled(self, schedule: Schedule) -> Schedule:
        action = schedule.action
        if not isinstance(action, ScheduleActionStartWorkflow) or not action.memo:
            return schedule
        action = copy.copy(action)
        action.memo = self._kept(action.memo, action.id)
        return dataclasses.replace(schedule, action=action)

    def _kept(self, memo: Mapping[str, Any] | None, workflow_id: str | None) -> Mapping[str, Any] | None:
        """``memo`` without the fields that the server drops: another mapping, since this one is the caller's."""
        try:
            if not memo:
                return memo
            converter = self._payload_converter(workflow_id)
            return {name: value for name, value in memo.items() if not _is_dropped(value, converter)}
        finally:
            del memo

    def _payload_converter(self, workflow_id: str | None) -> PayloadConverter:
        client = client_of(self.next)
        if client is None:
            return DataConverter.default.payload_converter
        converter = client.data_converter.payload_converter
        if workflow_id is None or not isinstance(converter, WithSerializationContext):
            return converter
        context = WorkflowSerializationContext(namespace=client.namespace, workflow_id=workflow_id)
        return cast(PayloadConverter, converter.with_context(context))


def _is_dropped(value: Any, converter: PayloadConverter) -> bool:
    if isinstance(value, Payload):
        return is_dropped(value)
    try:
        [payload] = converter.to_payloads([value])
    except Exception:  # the SDK converts it again, and tells the caller
        return False
    return is_dropped(payload)
