"""The Temporal server: whether it can be reached, and the newest histories of its namespaces."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    GetWorkflowExecutionHistoryReverseRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile, ClientConnectConfig
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.cli.doctor.call import Deadline

HISTORIES = 5
"""So many of a namespace are read."""

EVENTS = 1_000
"""At most so many of each, the newest."""

_DEFAULT_ADDRESS = "localhost:7233"
_ASKED_FOR = ("TEMPORAL_ADDRESS", "TEMPORAL_PROFILE")
_REFUSALS = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED)


class ProfileUnusable(Exception):
    """The profile of the connection can't be loaded; the text is one line."""


@dataclass(frozen=True)
class Target:
    """Where the server is, and how to connect.

    Attributes:
        address: host and port.
        namespace: the profile's own, if it has one.
        connection: arguments of `Client.connect`: TLS, API key, metadata.
    """

    address: str
    namespace: str | None
    connection: ClientConnectConfig = field(repr=False)

    @property
    def tls(self) -> bool:
        """Whether it connects by TLS."""
        return bool(self.connection.get("tls"))

    def without_secrets(self, text: str) -> str:
        """``text`` without the API key and the metadata, which a server or a proxy may repeat."""
        secrets = [self.connection.get("api_key", ""), *self.connection.get("rpc_metadata", {}).values()]
        for secret in filter(None, secrets):
            text = text.replace(secret, "(left out)")
        return text


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
        failure: why not all was read, one of the constants below. None if it was.
        words: what the server said.
    """

    namespace: str
    histories: list[History] = field(default_factory=list)
    failure: str | None = None
    words: str = ""


UNREACHABLE, REFUSED, MISSING, LATE = "unreachable", "refused", "missing", "late"
"""What `Reading.failure` and `ServerFailed.failure` can be."""


class ServerFailed(Exception):
    """Nothing could be read at all."""

    def __init__(self, failure: str, words: str) -> None:
        super().__init__(failure)
        self.failure = failure
        self.words = words


def target_of(address: str | None, profile: str | None, environ: Mapping[str, str] | None = None) -> Target | None:
    """The server that is asked for: by address, by profile, or by the environment. None if by none of these.

    TLS, API key and metadata come from the profile and from ``TEMPORAL_*``, as for Temporal's own tools.

    Raises:
        ProfileUnusable: there is no such profile, or a file that it names is missing.
    """
    variables = os.environ if environ is None else environ
    if address is None and profile is None and not any(variables.get(name) for name in _ASKED_FOR):
        return None
    try:
        loaded = ClientConfigProfile.load(profile, override_env_vars=dict(variables))
        connection = loaded.to_client_connect_config()
    except (RuntimeError, ValueError, OSError) as error:
        line = str(error).partition("\n")[0]  # what follows may be the line of the file, key and all
        raise ProfileUnusable(f"the connection profile can't be loaded: {line}") from None
    chosen = address or connection.get("target_host") or _DEFAULT_ADDRESS
    connection.pop("target_host", None)
    return Target(chosen, connection.pop("namespace", None), connection)


async def read_server(target: Target, namespaces: Sequence[str], deadline: Deadline) -> list[Reading]:
    """The newest histories of each namespace, as far as they can be read before ``deadline``.

    Raises:
        ServerFailed: there is no connection.
    """
    readings = [Reading(name) for name in namespaces]
    try:
        runtime = Runtime(telemetry=TelemetryConfig(logging=None))
        settings: dict[str, Any] = dict(target.connection)
        connecting = Client.connect(target.address, runtime=runtime, **settings)
        client = await asyncio.wait_for(connecting, deadline.remaining)
    except asyncio.TimeoutError:
        raise ServerFailed(LATE, "") from None
    except (RuntimeError, ValueError, RPCError) as error:
        words = target.without_secrets(str(error))
        refused = any(status in words for status in ("PermissionDenied", "Unauthenticated"))
        raise ServerFailed(REFUSED if refused else UNREACHABLE, words) from None
    await asyncio.gather(*(_bounded(client, reading, target, deadline) for reading in readings))
    return readings


async def _bounded(client: Client, reading: Reading, target: Target, deadline: Deadline) -> None:
    try:
        await asyncio.wait_for(_read(client, reading), deadline.remaining)
    except asyncio.TimeoutError:
        reading.failure = LATE
    except RPCError as error:
        reading.words = target.without_secrets(f"{error.status.name}: {error.message}")
        if error.status is RPCStatusCode.NOT_FOUND:
            reading.failure = MISSING
        else:
            reading.failure = REFUSED if error.status in _REFUSALS else UNREACHABLE


async def _read(client: Client, reading: Reading) -> None:
    service, namespace = client.workflow_service, reading.namespace
    try:
        await service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    except RPCError as error:  # who may not see the namespace itself may still read what is in it
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
