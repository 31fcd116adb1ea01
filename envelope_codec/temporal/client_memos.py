"""Null memo fields in what a client sends. They are left out, as Temporal's server would leave them out."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from temporalio.api.common.v1 import Payload
from temporalio.client import Interceptor, OutboundInterceptor, ScheduleActionStartWorkflow
from temporalio.converter import (
    DataConverter,
    PayloadConverter,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from envelope_codec.temporal.client_calls import ClientCalls, find_client
from envelope_codec.temporal.memo import is_dropped

if TYPE_CHECKING:
    from envelope_codec.temporal.client_calls import AnyStart


class NullMemos(Interceptor):
    """Leaves null memo fields out. Put it behind the interceptors that may add some."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """Put the look at memos before ``next``."""
        return _NullMemoCalls(next)


class _NullMemoCalls(ClientCalls):
    """Each method of the SDK's client that takes a memo."""

    async def change_start(self, start: AnyStart) -> AnyStart:
        """Leave null fields out of the workflow's memo."""
        try:
            return replace(start, memo=self._drop_nulls(start.memo, start.id))
        finally:
            del start  # an error keeps this frame, here and below

    async def change_schedule_memo(self, memo: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Leave null fields out of the schedule's own memo."""
        try:
            return self._drop_nulls(memo, None)
        finally:
            del memo

    async def change_action(self, action: ScheduleActionStartWorkflow) -> ScheduleActionStartWorkflow:
        """Leave null fields out of the memo of the workflow that is to start."""
        try:
            if not action.memo:
                return action
            changed = copy.copy(action)
            changed.memo = self._drop_nulls(action.memo, action.id)
            return changed
        finally:
            changed = None  # type: ignore[assignment]
            del action

    def _drop_nulls(self, memo: Mapping[str, Any] | None, workflow_id: str | None) -> Mapping[str, Any] | None:
        """Return another mapping, without the fields that the server drops. ``memo`` itself is the caller's."""
        try:
            if not memo:
                return memo
            converter = self._payload_converter(workflow_id)
            return {name: value for name, value in memo.items() if not _is_dropped(value, converter)}
        finally:
            del memo

    def _payload_converter(self, workflow_id: str | None) -> PayloadConverter:
        client = find_client(self.next)
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
    except Exception:  # the SDK converts the value again, and its error reaches the caller
        return False
    return is_dropped(payload)
