"""Following a workflow that does the work of a command, from the command that began it or from another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import CancelledError, FailureError, TerminatedError
from temporalio.service import RPCError

_T = TypeVar("_T")

DEFAULT_QUEUE = "envelope-codec"
"""The task queue of workers of this package, unless another one is named."""

_EVERY = 2.0  # seconds between looks at how far it has come
_TO_ANSWER = timedelta(seconds=10)
_SILENT = 3  # looks without an answer, after which it is told


class Failed(Exception):
    """The workflow failed, or can't be begun. The text says why, in one line."""


class Asked(NamedTuple):
    """The workflow that is wanted.

    Attributes:
        name: its type.
        id: its id, which says what it works on.
        queue: the task queue of its workers.
        arguments: its arguments.
        result: the type of its result.
        status: the type of what its query ``status`` answers.
    """

    name: str
    id: str
    queue: str
    arguments: list[Any]
    result: type[Any]
    status: type[Any]


async def begin(client: Client, asked: Asked) -> WorkflowHandle[Any, Any]:
    """Begin the workflow, or find the one with this id that runs.

    Raises:
        Failed: the server does not begin it.
    """
    try:
        return await client.start_workflow(
            asked.name,
            args=asked.arguments,
            id=asked.id,
            task_queue=asked.queue,
            result_type=asked.result,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
    except RPCError as error:
        raise Failed(f"the workflow can't be started: {error.status.name}: {error.message[:200]}") from None


async def follow(
    handle: WorkflowHandle[Any, Any],
    asked: Asked,
    show: Callable[[Any], None],
    tell: Callable[[str], None],
    every: float = _EVERY,
) -> Any:
    """Wait for the result, and show meanwhile how far it has come.

    Args:
        handle: of the workflow.
        asked: says what it is.
        show: gets each answer of its query ``status``.
        tell: gets a line for people, where no worker answers.
        every: seconds between the queries.

    Raises:
        Failed: the workflow failed, or was cancelled.
    """
    result = asyncio.ensure_future(_result(handle))
    silent = 0
    try:
        while not (await asyncio.wait([result], timeout=every))[0]:
            status = await _status(handle, asked.status)
            silent = silent + 1 if status is None else 0
            if status is not None:
                show(status)
            elif silent == _SILENT:
                tell(
                    f"no worker answers on task queue {asked.queue!r}. Start some there, with the same configuration: "
                    f"envelope-codec worker --task-queue {asked.queue}"
                )
        return await result
    finally:
        result.cancel()


async def _result(handle: WorkflowHandle[Any, Any]) -> Any:
    try:
        return await handle.result()
    except WorkflowFailureError as error:
        raise Failed(_reason_of(error)) from None
    except RPCError as error:
        raise Failed(f"the server does not tell how the workflow goes: {error.status.name}") from None


async def _status(handle: WorkflowHandle[Any, Any], result: type[_T]) -> _T | None:
    """Ask how far it has come. None if there is no answer."""
    try:
        status: _T = await handle.query("status", result_type=result, rpc_timeout=_TO_ANSWER)
    except (RPCError, WorkflowQueryFailedError):
        return None
    return status


def _reason_of(error: BaseException) -> str:
    """Say why a workflow failed: what the innermost of its failures says."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
        if isinstance(cause, CancelledError):
            return "it was cancelled"
        if isinstance(cause, TerminatedError):
            return "it was terminated"
    return cause.message if isinstance(cause, FailureError) else str(cause)


def leave_running(id: str, namespace: str) -> str:
    """Say that the workflow goes on, how to look at it, and how to end it."""
    where = f"--namespace {namespace} --workflow-id {id}"
    return (
        f"it goes on without this command, which follows it again when it is run again. "
        f"To look: temporal workflow describe {where}. To end it: temporal workflow cancel {where}"
    )
