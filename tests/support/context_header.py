"""An interceptor that hands a text from caller to callee in a header, as context propagation does."""

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

NAME = "context"

_received: ContextVar[str] = ContextVar("received")
_T = TypeVar("_T")


class ContextHeader(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    """The client sends ``text`` with everything; workflows send on what they were started with."""

    def __init__(self, text: str) -> None:
        self._text = text

    def intercept_client(self, next: temporalio.client.OutboundInterceptor) -> temporalio.client.OutboundInterceptor:
        return _Client(next, self._text)

    def intercept_activity(
        self, next: temporalio.worker.ActivityInboundInterceptor
    ) -> temporalio.worker.ActivityInboundInterceptor:
        return _Activity(next)

    def workflow_interceptor_class(
        self, input: temporalio.worker.WorkflowInterceptorClassInput
    ) -> type[temporalio.worker.WorkflowInboundInterceptor]:
        return _Workflow


def received_by_activity() -> str:
    """The text that the running activity's header has."""
    return _received.get()


def received_by_workflow() -> str:
    """The text that the running workflow was started with."""
    return _text_of(workflow.info().headers)


def _text_of(headers: Mapping[str, Payload]) -> str:
    text: str = PayloadConverter.default.from_payload(headers[NAME], str)
    return text


def _with_header(input: _T, text: str) -> _T:
    headers = {**input.headers, NAME: PayloadConverter.default.to_payload(text)}  # type: ignore[attr-defined]
    return dataclasses.replace(input, headers=headers)  # type: ignore[type-var]


class _Client(temporalio.client.OutboundInterceptor):
    def __init__(self, next: temporalio.client.OutboundInterceptor, text: str) -> None:
        super().__init__(next)
        self._text = text

    async def start_workflow(self, input: Any) -> Any:
        return await super().start_workflow(_with_header(input, self._text))

    async def signal_workflow(self, input: Any) -> None:
        await super().signal_workflow(_with_header(input, self._text))

    async def query_workflow(self, input: Any) -> Any:
        return await super().query_workflow(_with_header(input, self._text))

    async def start_workflow_update(self, input: Any) -> Any:
        return await super().start_workflow_update(_with_header(input, self._text))


class _Activity(temporalio.worker.ActivityInboundInterceptor):
    async def execute_activity(self, input: temporalio.worker.ExecuteActivityInput) -> Any:
        _received.set(_text_of(input.headers))
        return await super().execute_activity(input)


class _Workflow(temporalio.worker.WorkflowInboundInterceptor):
    def init(self, outbound: temporalio.worker.WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))

    async def handle_signal(self, input: temporalio.worker.HandleSignalInput) -> None:
        _text_of(input.headers)
        await super().handle_signal(input)

    async def handle_query(self, input: temporalio.worker.HandleQueryInput) -> Any:
        if NAME in input.headers:  # not where a test asks past every client
            _text_of(input.headers)
        return await super().handle_query(input)

    async def handle_update_handler(self, input: temporalio.worker.HandleUpdateInput) -> Any:
        _text_of(input.headers)
        return await super().handle_update_handler(input)


class _Outbound(temporalio.worker.WorkflowOutboundInterceptor):
    def start_activity(self, input: Any) -> Any:
        return super().start_activity(_with_header(input, received_by_workflow()))

    def start_local_activity(self, input: Any) -> Any:
        return super().start_local_activity(_with_header(input, received_by_workflow()))

    async def start_child_workflow(self, input: Any) -> Any:
        return await super().start_child_workflow(_with_header(input, received_by_workflow()))

    async def signal_child_workflow(self, input: Any) -> None:
        await super().signal_child_workflow(_with_header(input, received_by_workflow()))

    def continue_as_new(self, input: Any) -> Any:
        super().continue_as_new(_with_header(input, received_by_workflow()))
