"""Nexus operations between two namespaces: sealed in one, opened in the other."""

from __future__ import annotations

from functools import partial
from typing import Any

from temporalio import workflow
from temporalio.client import Client, NexusOperationFailureError, NexusOperationHandle, WorkflowHandle
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import NexusOperationError
from temporalio.service import RPCError
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    import pytest
    from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
    from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
    from temporalio.api.workflowservice.v1 import DescribeNexusOperationExecutionRequest

    from tests.support.server_records import describe, eventually
    from tests.support.surface_marks import mark
    from tests.support.surface_operations import Backing, Handler, Service
    from tests.support.surface_walk import ATTRIBUTE, Walk, define_attribute


@workflow.defn(name="PoppyCaller")
class Caller:
    @workflow.run
    async def run(self, secret: str, public: str, endpoint: str) -> list[str]:
        client = workflow.create_nexus_client(service=Service, endpoint=endpoint)
        seen = await client.execute_operation(
            Service.reply,
            [secret, public, mark(secret, "the input of an operation")],
            headers={"poppy-nexus-header": mark(public, "a Nexus header")},
            summary=mark(secret, "the summary of an operation"),
        )
        seen += await client.execute_operation(
            Service.work, [secret, public, mark(secret, "the input of a longer operation")]
        )
        for operation, text in ((Service.work, ""), (Service.decline, ""), (Service.decline, "handler")):
            try:
                await client.execute_operation(operation, [secret, public, text])
            except NexusOperationError as error:
                seen += _chain(error.cause)
        return seen


@workflow.defn
class Ask:
    """Calls one operation."""

    @workflow.run
    async def run(self, endpoint: str, text: str) -> list[str]:
        client = workflow.create_nexus_client(service=Service, endpoint=endpoint)
        return await client.execute_operation(Service.echo, [text])


def _chain(error: BaseException | None) -> list[str]:
    """The error, and what caused it."""
    return [] if error is None else [str(error), *_chain(error.__cause__)]


async def make_endpoint(plain: Client, name: str, task_queue: str) -> None:
    """An endpoint for the namespace of ``plain``."""
    target = EndpointTarget(worker=EndpointTarget.Worker(namespace=plain.namespace, task_queue=task_queue))
    spec = EndpointSpec(name=name, target=target)
    await plain.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))


async def walk_nexus(walk: Walk, other: Client, plain: Client) -> None:
    """Go through it.

    Args:
        walk: has clients of the namespace that calls.
        other: a client of the namespace that handles the operations.
        plain: a client of that namespace that knows nothing of encryption.
    """
    await define_attribute(walk.plain)
    name, endpoint = walk.name, f"poppy-{walk.name}"
    await make_endpoint(plain, endpoint, name)
    handling = Worker(
        other, task_queue=name, workflows=[Backing], nexus_service_handlers=[Handler()], max_cached_workflows=0
    )
    async with Worker(walk.client, task_queue=name, workflows=[Caller], max_cached_workflows=0), handling:
        await _call(walk, other, endpoint)
        await _call_without_workflow(walk, endpoint)
    await walk.keep_runs(1)
    await walk.keep_runs(2, plain)


async def _call(walk: Walk, other: Client, endpoint: str) -> None:
    handle = await walk.client.start_workflow(
        Caller.run, args=[walk.secret, walk.public, endpoint], id=walk.name, task_queue=walk.name
    )

    async def failed_once() -> bool:
        description = await describe(walk.plain, walk.name)
        walk.told.append(description)
        return any(one.HasField("last_attempt_failure") for one in description.pending_nexus_operations)

    await eventually(failed_once, "a pending operation that has failed once")
    for backing in ("backing", "failing"):
        started = other.get_workflow_handle(f"{walk.name} {backing}")
        await eventually(partial(_go_on, started), "the workflow of an operation")
    cause = walk.hidden("the cause of an operation's error")
    assert await handle.result() == [
        walk.hidden("the input of an operation"),
        walk.hidden("the result of an operation"),
        walk.readable("a Nexus header"),
        walk.hidden("the input of a longer operation"),
        walk.hidden("the result of a longer operation"),
        _text(walk.readable("the type of a workflow's error"), walk.hidden("the failure of an operation's workflow")),
        _text("OperationError", walk.hidden("an operation's error")),
        _text(walk.readable("the type of an operation's error"), cause),
        walk.hidden("a handler error"),
        _text(walk.readable("the type of an operation's error"), cause),
    ]


def _text(kind: str, message: str) -> str:
    """The text of an `ApplicationError`."""
    return f"{kind}: {message}"


async def _go_on(handle: WorkflowHandle[Any, Any]) -> bool:
    try:
        await handle.signal(Backing.go_on)
    except RPCError:  # it has not been started yet
        return False
    return True


async def _call_without_workflow(walk: Walk, endpoint: str) -> None:
    client = walk.client.create_nexus_client(Service, endpoint)
    handle = await client.start_operation(
        Service.reply,
        [walk.secret, walk.public, walk.hidden("the input of a standalone operation")],
        id=walk.readable("the id of a standalone operation"),
        headers={"poppy-nexus-header": walk.readable("the header of a standalone operation")},
        summary=walk.hidden("the summary of a standalone operation"),
        search_attributes=TypedSearchAttributes(
            [SearchAttributePair(ATTRIBUTE, walk.readable("a search attribute of a standalone operation"))]
        ),
    )
    assert await handle.result() == [
        walk.hidden("the input of a standalone operation"),
        walk.hidden("the result of an operation"),
        walk.readable("the header of a standalone operation"),
    ]
    assert await (await handle.describe()).static_summary() == walk.hidden("the summary of a standalone operation")
    await _keep(walk, handle)

    declined = await client.start_operation(Service.decline, [walk.secret, walk.public, ""], id=f"{walk.name} declined")
    with pytest.raises(NexusOperationFailureError) as failed:
        await declined.result()
    assert _chain(failed.value.cause) == [
        _text("OperationError", walk.hidden("an operation's error")),
        _text(walk.readable("the type of an operation's error"), walk.hidden("the cause of an operation's error")),
    ]
    await _keep(walk, declined)


async def _keep(walk: Walk, handle: NexusOperationHandle[Any]) -> None:
    request = DescribeNexusOperationExecutionRequest(
        namespace=walk.plain.namespace, operation_id=handle.operation_id, include_input=True, include_outcome=True
    )
    walk.told.append(await walk.plain.workflow_service.describe_nexus_operation_execution(request))


NEXUS_HIDDEN = (
    *("the input of an operation", "the result of an operation", "the summary of an operation"),
    *("a failure of an operation that is tried again", "the input of a longer operation"),
    *("the result of a longer operation", "the failure of an operation's workflow", "an operation's error"),
    *("the cause of an operation's error", "a handler error"),
    *("the input of a standalone operation", "the summary of a standalone operation"),
)
NEXUS_READABLE = (
    *("a Nexus header", "the type of a workflow's error", "the type of an operation's error"),
    *("the id of a standalone operation", "the header of a standalone operation"),
    "a search attribute of a standalone operation",
)
NEXUS_NAMES = (
    *("PoppyService", "poppy-reply", "poppy-work", "poppy-decline", "poppy-nexus-header"),
    *("PoppyCaller", "PoppyBacking", "poppyAttribute"),
)
