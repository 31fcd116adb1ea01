"""The newest histories of the namespaces of a Temporal server, as far as they can be read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    GetWorkflowExecutionHistoryReverseRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.cli.connection import Connection, ConnectionFailed
from envelope_codec.cli.keys.call import Deadline

HISTORIES = 5
"""How many histories of a namespace are read at most, the newest."""

EVENTS = 1_000
"""How many events of a history are read at most, the newest."""

_REFUSALS = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED)


class ReadFailure(Enum):
    """Why something of a server could not be read."""

    unreachable = "unreachable"
    refused = "refused"
    missing = "missing"
    late = "late"


@dataclass(frozen=True)
class History:
    """The newest events of one run."""

    workflow_id: str
    run_id: str
    events: list[HistoryEvent]


@dataclass
class Reading:
    """What was read of a namespace.

    Attributes:
        namespace: its name.
        histories: the newest runs, as far as they were read.
        failure: why not everything was read; None if it was.
        words: what the server said about the failure.
    """

    namespace: str
    histories: list[History] = field(default_factory=list)
    failure: ReadFailure | None = None
    words: str = ""


class ServerFailed(Exception):
    """Nothing could be read at all.

    Attributes:
        failure: why not.
        words: what the server said, or the SDK about it.
    """

    def __init__(self, failure: ReadFailure, words: str) -> None:
        super().__init__(failure.value)
        self.failure = failure
        self.words = words


async def read_server(connection: Connection, namespaces: Sequence[str], deadline: Deadline) -> list[Reading]:
    """Read the newest histories of each namespace, as far as they come before ``deadline``.

    Raises:
        ServerFailed: there is no connection.
    """
    readings = [Reading(name) for name in namespaces]
    try:
        client = await connection.open(deadline.remaining)
    except ConnectionFailed as error:
        refused = any(status in error.words for status in ("PermissionDenied", "Unauthenticated"))
        failure = ReadFailure.late if error.late else ReadFailure.refused if refused else ReadFailure.unreachable
        raise ServerFailed(failure, error.words) from None
    await asyncio.gather(*(_read_in_time(client, reading, connection, deadline) for reading in readings))
    return readings


async def _read_in_time(client: Client, reading: Reading, connection: Connection, deadline: Deadline) -> None:
    try:
        await asyncio.wait_for(_read(client, reading), deadline.remaining)
    except asyncio.TimeoutError:
        reading.failure = ReadFailure.late
    except RPCError as error:
        reading.words = connection.without_secrets(f"{error.status.name}: {error.message}")
        if error.status is RPCStatusCode.NOT_FOUND:
            reading.failure = ReadFailure.missing
        else:
            reading.failure = ReadFailure.refused if error.status in _REFUSALS else ReadFailure.unreachable


async def _read(client: Client, reading: Reading) -> None:
    service, namespace = client.workflow_service, reading.namespace
    try:
        await service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    except RPCError as error:  # credentials that may not see the namespace itself may still read its histories
        if error.status not in _REFUSALS:
            raise
    listed = await service.list_workflow_executions(
        ListWorkflowExecutionsRequest(namespace=namespace, page_size=HISTORIES)
    )
    for info in listed.executions[:HISTORIES]:
        try:
            page = await service.get_workflow_execution_history_reverse(
                GetWorkflowExecutionHistoryReverseRequest(
                    namespace=namespace, execution=info.execution, maximum_page_size=EVENTS
                )
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:  # its retention has just ended
                continue
            raise
        events = list(page.history.events)[::-1]
        reading.histories.append(History(info.execution.workflow_id, info.execution.run_id, events))
