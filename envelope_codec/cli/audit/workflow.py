"""The workflow of a distributed audit. It holds windows alone, and continues as new before there are too many."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy

from envelope_codec.cli.audit.course import Course
from envelope_codec.cli.audit.messages import (
    Beginning,
    Kept,
    Others,
    PageWork,
    Plan,
    Position,
    Request,
    Span,
    Summary,
    WindowWork,
)
from envelope_codec.cli.distributed.served import check_version

_T = TypeVar("_T")

_LONGEST = timedelta(hours=24)  # one attempt at one window
_RETRIES = RetryPolicy(maximum_interval=timedelta(minutes=1), maximum_attempts=30)


@dataclass(frozen=True)
class Status:
    """How far an audit has come.

    Attributes:
        request: what is audited.
        doing: what is done, for people.
        done: how many workflows or windows of it.
        total: how many there are; None if nobody knows.
    """

    request: Request
    doing: str
    done: int
    total: int | None


@workflow.defn(name="envelope-codec.audit")
class AuditWorkflow:
    """The workflow."""

    @workflow.init
    def __init__(self, request: Request, position: Position) -> None:
        self._request = request
        self._position = position

    @workflow.run
    async def run(self, request: Request, position: Position) -> Summary:
        """Audit from ``position`` on."""
        check_version(request.version)
        summary = await Course(request, position, _Activities(request)).run()
        if summary is None:
            workflow.continue_as_new(args=[request, position])
        return summary

    @workflow.query
    def status(self) -> Status:
        """Say how far it has come."""
        at = self._position
        return Status(self._request, at.doing, at.done, at.total)


class _Activities:
    """Has the pieces of work done by activities."""

    def __init__(self, request: Request) -> None:
        self._request = request

    async def begin(self) -> Beginning:
        return await self._do("begin", self._request, Beginning)

    async def plan(self, as_of: int, window: Span, limit: int) -> Plan:
        return await self._do("plan", WindowWork(self._request, as_of, window, limit=limit), Plan)

    async def read(self, as_of: int, window: Span, not_listed: list[str]) -> Kept:
        return await self._do("read", WindowWork(self._request, as_of, window, not_listed=not_listed), Kept)

    async def compare(self, as_of: int, kept: Kept, not_listed: list[str]) -> Kept:
        work = WindowWork(self._request, as_of, kept.window, kept.result, not_listed=not_listed)
        return await self._do("compare", work, Kept)

    async def read_others(self) -> Others:
        return await self._do("others", self._request, Others)

    async def keep(self, windows: list[Kept]) -> str:
        return await self._do("keep", PageWork(self._request, windows), str)

    async def load(self, page: str) -> list[Kept]:
        return await self._do("load", PageWork(self._request, [], page), list[Kept])

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _do(self, name: str, argument: object, result: type[_T]) -> _T:
        done: Any = await workflow.execute_activity(
            f"envelope-codec.audit.{name}",
            argument,
            result_type=result,
            start_to_close_timeout=_LONGEST,
            heartbeat_timeout=timedelta(seconds=self._request.takeover),
            retry_policy=_RETRIES,
        )
        return done  # type: ignore[no-any-return]
