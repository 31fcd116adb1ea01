"""The calls of a client that start a workflow now or by a schedule, and may change what is sent."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from temporalio.client import (
    Client,
    CreateScheduleInput,
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
)

if TYPE_CHECKING:
    from temporalio.client import UpdateWithStartStartWorkflowInput, WorkflowUpdateHandle

    AnyStart = TypeVar("AnyStart", StartWorkflowInput, UpdateWithStartStartWorkflowInput)

_FAR = 1_000  # interceptors


class ClientCalls(OutboundInterceptor):
    """Gives the parts of each call to methods that a subclass overrides. By default they change nothing.

    What the caller has stays as it is: changed calls are copies. An error keeps the frames here, so that these refer
    to no call while the next interceptor runs.
    """

    async def change_start(self, start: AnyStart) -> AnyStart:
        """Return what to send in place of ``start``, a workflow's start, alone or with an update."""
        return start

    async def change_schedule_memo(self, memo: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Return what to send in place of a new schedule's own memo."""
        return memo

    async def change_action(self, action: ScheduleActionStartWorkflow) -> ScheduleActionStartWorkflow:
        """Return what to send in place of ``action``, the start of a workflow in a new or a changed schedule."""
        return action

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        """Change the start. Signal-with-start is this call as well."""
        try:
            running = [super().start_workflow(await self.change_start(input))]
        finally:
            del input
        return await running.pop()

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        """Change the start that stands in the call."""
        try:
            start = [await self.change_start(input.start_workflow_input)]
            running = [super().start_update_with_start_workflow(replace(input, start_workflow_input=start.pop()))]
        finally:
            del input
        return await running.pop()

    async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:
        """Change the schedule's memo and its action."""
        try:
            memo = await self.change_schedule_memo(input.memo)
            changed = [replace(input, memo=memo, schedule=await self._change_schedule(input.schedule))]
            running = [super().create_schedule(changed.pop())]
        finally:
            memo = None
            del input
        return await running.pop()

    async def update_schedule(self, input: UpdateScheduleInput) -> None:
        """Change the action in what the caller's updater returns."""

        async def update_and_change(given: ScheduleUpdateInput) -> ScheduleUpdate | None:
            update: Any = updater(given)
            if inspect.isawaitable(update):
                update = await update
            if not isinstance(update, ScheduleUpdate):
                return cast("ScheduleUpdate | None", update)
            try:
                return replace(update, schedule=await self._change_schedule(update.schedule))
            finally:
                del update

        updater = input.updater
        await super().update_schedule(replace(input, updater=update_and_change))

    async def _change_schedule(self, schedule: Schedule) -> Schedule:
        try:
            action = schedule.action
            if not isinstance(action, ScheduleActionStartWorkflow):
                return schedule
            return replace(schedule, action=await self.change_action(action))
        finally:
            action = None  # type: ignore[assignment]
            del schedule


def find_client(interceptor: object) -> Client | None:
    """Return the client at the end of a chain of interceptors. The SDK has no public way, so there may be none."""
    for _ in range(_FAR):
        client = getattr(interceptor, "_client", None)
        if isinstance(client, Client):
            return client
        interceptor = getattr(interceptor, "next", None)
    return None
