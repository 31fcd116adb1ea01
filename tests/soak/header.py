"""A header that goes from the starter over a workflow to its activities."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import temporalio.client
import temporalio.worker
from temporalio import workflow
from temporalio.converter import PayloadConverter

NAME = "soak"

sent: ContextVar[str] = ContextVar("sent", default="")
"""What the client sends with the workflows that it starts, if it is not empty."""

_received: ContextVar[str] = ContextVar("received", default="")


def received() -> str:
    """What the running activity was sent."""
    return _received.get()


class Header(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    """For clients and workers alike."""

    def intercept_client(self, next: temporalio.client.OutboundInterceptor) -> temporalio.client.OutboundInterceptor:
        return _Client(next)

    def intercept_activity(
        self, next: temporalio.worker.ActivityInboundInterceptor
    ) -> temporalio.worker.ActivityInboundInterceptor:
        return _Activity(next)

    def workflow_interceptor_class(
        self, input: temporalio.worker.WorkflowInterceptorClassInput
    ) -> type[temporalio.worker.WorkflowInboundInterceptor]:
        return _Workflow


class _Client(temporalio.client.OutboundInterceptor):
    async def start_workflow(self, input: Any) -> Any:
        if text := sent.get():
            input.headers = {**input.headers, NAME: PayloadConverter.default.to_payload(text)}
        return await super().start_workflow(input)


class _Activity(temporalio.worker.ActivityInboundInterceptor):
    async def execute_activity(self, input: temporalio.worker.ExecuteActivityInput) -> Any:
        if NAME in input.headers:
            _received.set(PayloadConverter.default.from_payload(input.headers[NAME], str))
        return await super().execute_activity(input)


class _Workflow(temporalio.worker.WorkflowInboundInterceptor):
    def init(self, outbound: temporalio.worker.WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _Outbound(temporalio.worker.WorkflowOutboundInterceptor):
    def start_activity(self, input: Any) -> Any:
        headers = workflow.info().headers
        if NAME in headers:
            input.headers = {**input.headers, NAME: headers[NAME]}
        return super().start_activity(input)
