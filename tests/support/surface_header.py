"""An interceptor that sends headers where `context_header` does not: with external signals, from schedules, …"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

import temporalio.client
import temporalio.worker
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter

from tests.support.surface_marks import mark

NAME = "poppy-header-name"

_received: ContextVar[str] = ContextVar("received", default="")
_T = TypeVar("_T")


class SurfaceHeader(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    """Each place has a text of its own, with ``secret`` in it."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def intercept_client(self, next: temporalio.client.OutboundInterceptor) -> temporalio.client.OutboundInterceptor:
        return _Client(next, self._secret)

    def intercept_activity(
        self, next: temporalio.worker.ActivityInboundInterceptor
    ) -> temporalio.worker.ActivityInboundInterceptor:
        return _Activity(next)

    def workflow_interceptor_class(
        self, input: temporalio.worker.WorkflowInterceptorClassInput
    ) -> type[temporalio.worker.WorkflowInboundInterceptor]:
        return _Workflow


def received() -> str:
    """The text in the header of the running activity, signal or update; empty without one."""
    return _received.get()


def started_with() -> str:
    """The text in the header that the running workflow was started with; empty without one."""
    return _text_of(workflow.info().headers)


def _text_of(headers: Mapping[str, Payload]) -> str:
    return PayloadConverter.default.from_payload(headers[NAME], str) if NAME in headers else ""


def _header(secret: str, where: str) -> dict[str, Payload]:
    return {NAME: PayloadConverter.default.to_payload(mark(secret, f"the header of {where}"))}


def _with_header(input: _T, secret: str, where: str) -> _T:
    headers = {**(input.headers or {}), **_header(secret, where)}  # type: ignore[attr-defined]
    return dataclasses.replace(input, headers=headers)  # type: ignore[type-var]


class _Client(temporalio.client.OutboundInterceptor):
    def __init__(self, next: temporalio.client.OutboundInterceptor, secret: str) -> None:
        super().__init__(next)
        self._secret = secret

    async def start_update_with_start_workflow(self, input: Any) -> Any:
        start, update = input.start_workflow_input, input.update_workflow_input
        return await super().start_update_with_start_workflow(
            dataclasses.replace(
                input,
                start_workflow_input=_with_header(start, self._secret, "a start with an update"),
                update_workflow_input=_with_header(update, self._secret, "an update with a start"),
            )
        )

    async def create_schedule(self, input: Any) -> Any:
        input.schedule.action.headers = _header(self._secret, "a schedule")
        return await super().create_schedule(input)

    async def start_activity(self, input: Any) -> Any:
        return await super().start_activity(_with_header(input, self._secret, "a standalone activity"))


class _Activity(temporalio.worker.ActivityInboundInterceptor):
    async def execute_activity(self, input: temporalio.worker.ExecuteActivityInput) -> Any:
        _received.set(_text_of(input.headers))
        return await super().execute_activity(input)


class _Workflow(temporalio.worker.WorkflowInboundInterceptor):
    def init(self, outbound: temporalio.worker.WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))

    async def handle_signal(self, input: temporalio.worker.HandleSignalInput) -> None:
        _received.set(_text_of(input.headers))
        await super().handle_signal(input)

    async def handle_update_handler(self, input: temporalio.worker.HandleUpdateInput) -> Any:
        _received.set(_text_of(input.headers))
        return await super().handle_update_handler(input)


class _Outbound(temporalio.worker.WorkflowOutboundInterceptor):
    """The first argument, if there is one, begins with the secret."""

    async def signal_external_workflow(self, input: temporalio.worker.SignalExternalWorkflowInput) -> None:
        if input.args:
            input = _with_header(input, _secret_of(input.args[0]), "an external signal")
        await super().signal_external_workflow(input)

    async def start_signal_with_start_workflow(self, request: Any) -> Any:
        secret = _secret_of(request.args[0])
        return await super().start_signal_with_start_workflow(_with_header(request, secret, "a system Nexus operation"))


def _secret_of(text: str) -> str:
    return text.partition(" in ")[0]
