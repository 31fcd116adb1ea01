"""Following a workflow: its result, why it failed, and what people are told where no worker answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError, TerminatedError
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.cli.distributed.follow import Asked, Failed, begin, follow, leave_running

ASKED = Asked("type", "the/id", "the-queue", [1], int, str)


class Handle:
    """A workflow that ends after so many looks at it."""

    def __init__(self, end: int | BaseException, looks: int = 0, answers: bool = True) -> None:
        self.end = end
        self.left = looks
        self.answers = answers
        self.over = asyncio.Event()
        if not looks:
            self.over.set()

    async def result(self) -> int:
        await self.over.wait()
        if isinstance(self.end, BaseException):
            raise self.end
        return self.end

    async def query(self, name: str, **more: Any) -> str:
        assert name == "status"
        self.left -= 1
        if not self.left:
            self.over.set()
        if not self.answers:
            raise RPCError("no worker", RPCStatusCode.DEADLINE_EXCEEDED, b"")
        return f"{self.left} left"


def failure(*causes: BaseException) -> WorkflowFailureError:
    first = inner = WorkflowFailureError(cause=causes[0])
    for cause in causes:
        inner.__cause__ = cause
        inner = cause  # type: ignore[assignment]
    return first


async def followed(handle: Any) -> tuple[int, list[str], list[str]]:
    shown, told = list[str](), list[str]()
    return await follow(handle, ASKED, shown.append, told.append, every=0), shown, told


async def test_it_shows_how_far_it_has_come_until_the_result_is_there() -> None:
    result, shown, told = await followed(Handle(7, looks=3))
    assert (result, shown, told) == (7, ["2 left", "1 left", "0 left"], [])


async def test_where_no_worker_answers_it_says_so_once() -> None:
    result, shown, told = await followed(Handle(7, looks=9, answers=False))
    assert (result, shown) == (7, [])
    [line] = told
    assert "no worker answers on task queue 'the-queue'" in line
    assert "envelope-codec worker --task-queue the-queue" in line


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (failure(ApplicationError("outer"), ApplicationError("the reason")), "the reason"),
        (failure(CancelledError("Workflow cancelled")), "it was cancelled"),
        (failure(TerminatedError("by someone")), "it was terminated"),
        (RPCError("gone", RPCStatusCode.NOT_FOUND, b""), "the server does not tell how the workflow goes: NOT_FOUND"),
    ],
)
async def test_why_it_failed_is_told(error: BaseException, reason: str) -> None:
    with pytest.raises(Failed) as failed:
        await followed(Handle(error))
    assert str(failed.value) == reason


async def test_a_workflow_that_can_t_be_started_is_told() -> None:
    class Client:
        async def start_workflow(self, *args: Any, **more: Any) -> None:
            raise RPCError("no such namespace", RPCStatusCode.NOT_FOUND, b"")

    client: Any = Client()
    with pytest.raises(Failed, match="can't be started: NOT_FOUND: no such namespace"):
        await begin(client, ASKED)


def test_how_to_look_at_it_and_how_to_end_it() -> None:
    said = leave_running("the/id", "prod")
    assert "temporal workflow describe --namespace prod --workflow-id the/id" in said
    assert "temporal workflow cancel --namespace prod --workflow-id the/id" in said
