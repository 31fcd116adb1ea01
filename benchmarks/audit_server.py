"""A Temporal server for measurements: it speaks gRPC, and has as many workflows as wanted, all made up when asked for.

Run it as ``python -m benchmarks.audit_server WORKFLOWS PAYLOADS BYTES``. It prints its address, and serves until its
standard input ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import grpc  # type: ignore[import-untyped,unused-ignore]
import grpc.aio  # type: ignore[import-untyped,unused-ignore]
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.history.v1 import History
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsResponse,
    DescribeNamespaceResponse,
    GetSystemInfoResponse,
    GetWorkflowExecutionHistoryResponse,
    ListActivityExecutionsResponse,
    ListNexusOperationExecutionsResponse,
    ListSchedulesResponse,
    ListWorkflowExecutionsResponse,
)
from temporalio.api.workflowservice.v1 import request_response_pb2 as messages

from envelope_codec.envelope import NAME_DATA_KEY, Purpose, Recipient, Record, build_record, record_head
from tests.support.audited_server import is_of_types, understand

T0 = 1_700_000_000_000
"""All workflows have started and ended before it, in milliseconds since 1970."""

KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
_SERVICE = "temporal.api.workflowservice.v1.WorkflowService"
_HISTORIES = 50


def make_record(number: int) -> Record:
    """Make the record of one of the wrapping keys."""
    head = record_head(Purpose.WRAPPING_KEY, 1_700_000_000 + number, {"temporal-namespace": "default"})
    return build_record(head, number.to_bytes(32, "big"), [Recipient(KEY, "", bytes(184))])


RECORDS = [make_record(number) for number in range(200)]


def envelope(number: int, size: int) -> Payload:
    """Make an envelope of ``size`` bytes under one of the wrapping keys."""
    metadata = RECORDS[number % len(RECORDS)].metadata | {NAME_DATA_KEY: os.urandom(40)}
    return Payload(metadata=metadata, data=os.urandom(size))


def make_history(payloads: int, size: int) -> History:
    """Make a history of activities, each with an input and a result."""
    history = History()
    for number in range(payloads // 2):
        scheduled = history.events.add(event_id=3 * number + 1)
        scheduled.activity_task_scheduled_event_attributes.input.payloads.append(envelope(number, size))
        started = history.events.add(event_id=3 * number + 2)
        started.activity_task_started_event_attributes.scheduled_event_id = 1
        completed = history.events.add(event_id=3 * number + 3)
        completed.activity_task_completed_event_attributes.result.payloads.append(envelope(number + 7, size))
    return history


class Endless:
    """Answers the calls of an audit. Each workflow has started and ended in a millisecond of its own."""

    def __init__(self, workflows: int, payloads: int, size: int) -> None:
        self._workflows = workflows
        histories = (make_history(payloads, size) for _ in range(_HISTORIES))
        self._histories = [GetWorkflowExecutionHistoryResponse(history=one) for one in histories]
        self._given = 0

    def get_system_info(self, request: Any) -> Any:
        return GetSystemInfoResponse()

    def describe_namespace(self, request: Any) -> Any:
        return DescribeNamespaceResponse()

    def list_schedules(self, request: Any) -> Any:
        return ListSchedulesResponse()

    def list_activity_executions(self, request: Any) -> Any:
        return ListActivityExecutionsResponse()

    def list_nexus_operation_executions(self, request: Any) -> Any:
        return ListNexusOperationExecutionsResponse()

    def count_workflow_executions(self, request: Any) -> Any:
        return CountWorkflowExecutionsResponse(count=len(self._numbers(request.query)))

    def list_workflow_executions(self, request: Any) -> Any:
        numbers = self._numbers(request.query)[::-1]
        begin = int(request.next_page_token or b"0")
        end = begin + request.page_size
        token = b"%d" % end if end < len(numbers) else b""
        return ListWorkflowExecutionsResponse(executions=map(self._info, numbers[begin:end]), next_page_token=token)

    def get_workflow_execution_history(self, request: Any) -> Any:
        self._given += 1
        return self._histories[self._given % _HISTORIES]

    def _info(self, number: int) -> WorkflowExecutionInfo:
        execution = WorkflowExecution(workflow_id=f"w{number}", run_id=f"r{number}")
        status: Any = 2
        info = WorkflowExecutionInfo(execution=execution, status=status)
        info.type.name = "Work"
        info.start_time.FromMilliseconds(T0 - 2 * self._workflows + number)
        info.close_time.FromMilliseconds(T0 - self._workflows + number)
        return info

    def _numbers(self, query: str) -> range:
        bounds, not_closed_before, _ = understand(query)
        numbers = range(0 if not_closed_before or not is_of_types("Work", query) else self._workflows)  # none runs
        for name, sign, moment in bounds:
            first = T0 - (2 if name == "StartTime" else 1) * self._workflows
            at = min(max(moment - first, 0), self._workflows)
            numbers = numbers[max(at - numbers.start, 0) :] if sign == ">=" else numbers[: max(at - numbers.start, 0)]
        return numbers


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc,unused-ignore]
    def __init__(self, server: Endless) -> None:
        self._server = server

    def service(self, handler_call_details: Any) -> Any:
        name = handler_call_details.method.removeprefix(f"/{_SERVICE}/")
        snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
        answer = getattr(self._server, snake, None)
        if answer is None:
            return None

        async def call(request: Any, context: Any) -> Any:
            return answer(request)

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=getattr(messages, f"{name}Request").FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )


async def serve(workflows: int, payloads: int, size: int) -> None:
    """Serve until the standard input ends."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Handler(Endless(workflows, payloads, size)),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(serve(*map(int, sys.argv[1:])))
