"""A distributed audit without Temporal: the course asks the activities themselves, one process does them all."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from temporalio.testing import ActivityEnvironment

from envelope_codec import EnvelopeConfig, __version__
from envelope_codec.cli.audit.course import Course
from envelope_codec.cli.audit.distribution import load_findings
from envelope_codec.cli.audit.findings import Findings
from envelope_codec.cli.audit.messages import (
    Beginning,
    Kept,
    Others,
    PageWork,
    Plan,
    Position,
    Request,
    Span,
    WindowWork,
)
from envelope_codec.cli.audit.results import Results
from envelope_codec.cli.audit.work import AuditWork
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms
from tests.support.audited_server import AuditedServer
from tests.support.memory_store import Memory

_T = TypeVar("_T")


class Pieces:
    """Has the pieces of work done by the activities, as the workflow has."""

    def __init__(self, request: Request, work: AuditWork) -> None:
        self._request = request
        self._work = work

    async def begin(self) -> Beginning:
        return await self._do(self._work.begin, self._request)

    async def plan(self, as_of: int, window: Span, limit: int) -> Plan:
        return await self._do(self._work.plan, WindowWork(self._request, as_of, window, limit=limit))

    async def read(self, as_of: int, window: Span, not_listed: list[str]) -> Kept:
        return await self._do(self._work.read, WindowWork(self._request, as_of, window, not_listed=not_listed))

    async def compare(self, as_of: int, kept: Kept, not_listed: list[str]) -> Kept:
        work = WindowWork(self._request, as_of, kept.window, kept.result, not_listed=not_listed)
        return await self._do(self._work.compare, work)

    async def read_others(self) -> Others:
        return await self._do(self._work.read_others, self._request)

    async def keep(self, windows: list[Kept]) -> str:
        return await self._do(self._work.keep, PageWork(self._request, windows))

    async def load(self, page: str) -> list[Kept]:
        return await self._do(self._work.load, PageWork(self._request, [], page))

    async def sleep(self, seconds: float) -> None:
        pass

    async def _do(self, activity: Callable[[Any], Coroutine[Any, Any, _T]], argument: object) -> _T:
        return await ActivityEnvironment().run(activity, argument)


async def audit_in_pieces(server: AuditedServer, as_of: int, query: str = "") -> Findings:
    """Audit the namespace of a server in memory."""
    results = Results(Memory(), EnvelopeCodec(EnvelopeConfig(key=FakeKms()), namespace="default"))
    request = Request(__version__, "default", query, as_of, 0, 1e6, 4, 30, await results.put_marker())
    position, pieces = Position(), Pieces(request, AuditWork(server.client(), results))
    while (summary := await Course(request, position, pieces).run()) is None:
        pass
    return await load_findings(results, summary, lambda: None)
