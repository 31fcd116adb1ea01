"""Measure an audit beside what fetching the same histories costs by itself, and its memory.

The server is in memory: it parses each history from bytes, as the client of a real one does. So "fetching" is that
work alone, and the audit's own is the difference. Run it as ``python -m benchmarks.audit``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.history.v1 import History
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import CountWorkflowExecutionsResponse, ListWorkflowExecutionsResponse

from envelope_codec.cli.audit.checkpoint import Checkpoint
from envelope_codec.cli.audit.count import Count
from envelope_codec.cli.audit.scan import Scan
from envelope_codec.cli.reading.reader import Source, SourceKind
from envelope_codec.envelope import NAME_DATA_KEY, Purpose, Recipient, Record, build_record, record_head
from tests.support.audited_server import AuditedServer, Workflow, understand

PAYLOADS = 100
"""How many payloads a history has, in half as many activities."""

KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
T0 = 1_700_000_000_000


class Silent:
    def expect(self, doing: str, total: int | None) -> None:
        pass

    def advance(self) -> None:
        pass


def make_record(number: int) -> Record:
    head = record_head(Purpose.WRAPPING_KEY, 1_700_000_000 + number, {"temporal-namespace": "default"})
    return build_record(head, number.to_bytes(32, "big"), [Recipient(KEY, "", bytes(184))])


RECORDS = [make_record(number) for number in range(200)]


def envelope(number: int, size: int) -> Payload:
    metadata = RECORDS[number % len(RECORDS)].metadata | {NAME_DATA_KEY: os.urandom(40)}
    return Payload(metadata=metadata, data=os.urandom(size))


def make_history(size: int) -> bytes:
    history = History()
    for number in range(PAYLOADS // 2):
        scheduled = history.events.add(event_id=3 * number + 1)
        scheduled.activity_task_scheduled_event_attributes.input.payloads.append(envelope(number, size))
        started = history.events.add(event_id=3 * number + 2)
        started.activity_task_started_event_attributes.scheduled_event_id = 1
        completed = history.events.add(event_id=3 * number + 3)
        completed.activity_task_completed_event_attributes.result.payloads.append(envelope(number + 7, size))
    return history.SerializeToString()


def sources() -> Iterator[Source]:
    number = 0
    while True:
        number += 1
        execution = WorkflowExecution(workflow_id=f"w{number}", run_id=f"r{number}")
        yield Source(SourceKind.workflow, f"w{number}", f"r{number}", True, WorkflowExecutionInfo(execution=execution))


def measure(histories: list[bytes]) -> tuple[float, float]:
    """Return the processor seconds of parsing alone, and of parsing and counting."""

    def parse(one: bytes) -> Message:
        return History.FromString(one)

    start = time.process_time()
    for one in histories:
        parse(one)
    middle = time.process_time()
    for one, source in zip(histories, sources(), strict=False):
        count = Count(source)
        count.add(parse(one))
        assert sum(need.payloads for need in count.end().needs.values()) == PAYLOADS
    return middle - start, time.process_time() - middle


class Endless(AuditedServer):
    """Has as many workflows as wanted, and makes each up when it is asked: one started and ended each millisecond."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.asked = Forgetful()
        self._number = number

    def _answer_count_workflow_executions(self, request: Any) -> Any:
        return CountWorkflowExecutionsResponse(count=len(self._numbers(request.query)))

    def _answer_list_workflow_executions(self, request: Any) -> Any:
        numbers = self._numbers(request.query)[::-1]
        begin = int(request.next_page_token or b"0")
        end = begin + request.page_size
        page = [self._workflow(number).info() for number in numbers[begin:end]]
        token = b"%d" % end if end < len(numbers) else b""
        return ListWorkflowExecutionsResponse(executions=page, next_page_token=token)

    def _numbers(self, query: str) -> range:
        bounds, not_closed_before, _ = understand(query)
        numbers = range(0 if not_closed_before else self._number)  # none runs
        for name, sign, moment in bounds:
            first = self._workflow(0)
            at = moment - (first.start if name == "StartTime" else first.close)
            at = min(max(at, 0), self._number)
            numbers = numbers[max(at - numbers.start, 0) :] if sign == ">=" else numbers[: max(at - numbers.start, 0)]
        return numbers

    def _workflow(self, number: int) -> Workflow:
        return Workflow(f"w{number}", T0 - 2 * self._number + number, T0 - self._number + number)

    def _answer_get_workflow_execution_history(self, request: Any) -> Any:
        its = (envelope(hash(request.execution.run_id), 100),)
        return Workflow("w", 1, 2, its).history()


class Forgetful(list[str]):
    def append(self, name: str) -> None:
        pass


async def measure_memory(number: int) -> float:
    """Return how many MiB an audit of so many workflows has at its peak, beside what the server has."""
    server = Endless(number)
    gc.collect()
    tracemalloc.start()
    try:
        with Checkpoint(None, {}, T0) as checkpoint:
            findings = await Scan(server.reader(), checkpoint, Silent(), wait=0).run()
        assert findings.whole.sources == number
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few workflows")
    quick = parser.parse_args().quick
    for size in (100, 1_000, 10_000):
        histories = [make_history(size) for _ in range(20)]
        parsed, counted = min((measure(histories) for _ in range(5)), key=lambda pair: pair[1] - pair[0])
        payloads = len(histories) * PAYLOADS
        print(
            f"payloads of {size:>6,} bytes: parsing {parsed / payloads * 1e6:5.1f} µs each, "
            f"counting {(counted - parsed) / payloads * 1e6:5.1f} µs more, "
            f"which is {payloads / (counted - parsed):,.0f} payloads a second a core"
        )
    for number in (500, 1_000, 2_000) if quick else (2_000, 10_000, 50_000):
        print(f"{number:>6,} workflows: {asyncio.run(measure_memory(number)):.1f} MiB at the peak")


if __name__ == "__main__":
    main()
