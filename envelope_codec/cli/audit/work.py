"""The pieces of work of a distributed audit, as activities."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from temporalio import activity
from temporalio.api.enums.v1 import ArchivalState
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from envelope_codec.cli.audit.checkpoint import Result
from envelope_codec.cli.audit.messages import OTHERS, Beginning, Kept, Others, PageWork, Plan, Request, Span, WindowWork
from envelope_codec.cli.audit.moment import latest_moment
from envelope_codec.cli.audit.own_runs import CountOne, in_batches, sources_besides
from envelope_codec.cli.audit.results import Results
from envelope_codec.cli.audit.stopped import Stopped, is_final, reason_of
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.cli.audit.window import Part, Window, join, pieces, timestamp, whole_of
from envelope_codec.cli.audit.window_scan import Partial, WindowScan
from envelope_codec.cli.distributed.heartbeat import beating
from envelope_codec.cli.distributed.served import check_version
from envelope_codec.cli.reading.batch import run_each
from envelope_codec.cli.reading.pace import Pace
from envelope_codec.cli.reading.reader import Reader, Source, SourceKind
from envelope_codec.errors import EnvelopeError, PayloadMissing

_ARCHIVED = ArchivalState.ARCHIVAL_STATE_ENABLED


class AuditWork:
    """The activities.

    Args:
        client: is connected to the server.
        results: where results are kept.
    """

    def __init__(self, client: Client, results: Results) -> None:
        self._client = client
        self._results = results
        self._known: set[str] = set()

    def activities(self) -> Sequence[Callable[..., Any]]:
        """List the activities."""
        return [self.begin, self.plan, self.read, self.compare, self.read_others, self.keep, self.load]

    @activity.defn(name="envelope-codec.audit.begin")
    async def begin(self, request: Request) -> Beginning:
        """Look at the namespace, and fix T0."""
        async with beating():
            with _failures():
                check_version(request.version)
                await self._check_place(request, final=True)
                reader = self._reader(request, request.rate)
                described = await reader.check()
                now, wall = await latest_moment(reader), int(time.time() * 1000)
        if request.as_of is not None and request.as_of > max(now, wall):
            raise ApplicationError(f"the moment {timestamp(request.as_of)} is yet to come", non_retryable=True)
        config = described.config
        return Beginning(
            as_of=now if request.as_of is None else request.as_of,
            waits=request.as_of is None or request.as_of > now - request.wait * 1000,
            retention=config.workflow_execution_retention_ttl.ToTimedelta().total_seconds(),
            archived=_ARCHIVED in (config.history_archival_state, config.visibility_archival_state),
        )

    @activity.defn(name="envelope-codec.audit.plan")
    async def plan(self, work: WindowWork) -> Plan:
        """Plan the first windows of what is left of a part."""
        span = work.window
        high = span.high or whole_of(Part(span.part), work.as_of, int(time.time() * 1000)).high
        whole = Window(Part(span.part), span.low, high)
        counts: list[int | None] = []
        planned: list[Window] = []
        async with beating():
            await self._check(work.request)
            reader = self._reader(work.request, work.request.rate)

            async def count(window: Window) -> int | None:
                counts.append(await reader.count(window.query(work.as_of, work.request.query)))
                return counts[-1]

            with _failures():
                async for window in pieces(whole, count):
                    planned.append(window)
                    if len(planned) == work.limit:
                        break
        end = planned[-1].high if len(planned) == work.limit else high
        windows = join(planned, Window(whole.part, whole.low, end))
        return Plan([Span(span.part, one.low, one.high) for one in windows], high, counts[0])

    @activity.defn(name="envelope-codec.audit.read")
    async def read(self, work: WindowWork) -> Kept:
        """Read a window, from where the last worker left it."""
        async with beating() as heartbeat:
            await self._check(work.request)
            with _failures():
                scan = self._scan(work, lambda partial: heartbeat.say(_dump_partial(partial, work)))
                result = await scan.read(_load_partial(heartbeat.last, work))
                return await self._keep_result(work.request, work.window, result)

    @activity.defn(name="envelope-codec.audit.compare")
    async def compare(self, work: WindowWork) -> Kept:
        """List a window again, and read it from its beginning if something is new."""
        async with beating():
            await self._check(work.request)
            with _failures():
                scan = self._scan(work)
                known = await self._results.get(work.request.marker, work.window, work.result)
                new = len(await scan.list_runs() - set(known.runs))
                if not new:
                    return Kept(work.window, work.result, len(known.runs))
                return await self._keep_result(work.request, work.window, await scan.read(), new)

    @activity.defn(name="envelope-codec.audit.others")
    async def read_others(self, request: Request) -> Others:
        """Read schedules, standalone activities and operations, unless only some workflows are wanted."""
        tally = Tally()
        reader = self._reader(request, request.rate)

        async with beating():
            await self._check(request)
            with _failures():
                if not request.query:
                    await _read_besides(reader, tally)
                kept = await self._keep_result(request, OTHERS, Partial(tally=tally).result())
        return Others(kept.result, sorted(kind.value for kind in reader.not_listed))

    @activity.defn(name="envelope-codec.audit.keep")
    async def keep(self, work: PageWork) -> str:
        """Keep a page of windows."""
        async with beating():
            await self._check(work.request)
            with _failures():
                return await self._results.put_page(work.request.marker, work.windows)

    @activity.defn(name="envelope-codec.audit.load")
    async def load(self, work: PageWork) -> list[Kept]:
        """Load a page of windows."""
        async with beating():
            await self._check(work.request)
            with _failures():
                return await self._results.get_page(work.request.marker, work.page)

    async def _keep_result(self, request: Request, window: Span, result: Result, new: int = 0) -> Kept:
        return Kept(window, await self._results.put(request.marker, window, result), len(result.runs), new)

    def _scan(self, work: WindowWork, keep: Callable[[Partial], None] = lambda partial: None) -> WindowScan:
        rate = work.request.rate / work.request.at_once
        kinds = [SourceKind(name) for name in work.not_listed]
        reader = Reader(self._client, work.request.namespace, Pace(rate), kinds)
        window = Window(Part(work.window.part), work.window.low, work.window.high)
        return WindowScan(reader, window.query(work.as_of, work.request.query), keep)

    def _reader(self, request: Request, rate: float) -> Reader:
        return Reader(self._client, request.namespace, Pace(rate))

    async def _check(self, request: Request) -> None:
        check_version(request.version)
        with _failures():
            await self._check_place(request, final=False)

    async def _check_place(self, request: Request, *, final: bool) -> None:
        """Raise if this worker keeps results elsewhere. Another worker may do better, unless it is ``final``."""
        if request.marker in self._known:
            return
        try:
            await self._results.check_marker(request.marker)
        except PayloadMissing:
            raise ApplicationError(
                "a worker keeps results at another place than the command: give both the same --results",
                non_retryable=final,
            ) from None
        self._known.add(request.marker)


async def _read_besides(reader: Reader, tally: Tally) -> None:
    for sources, count_one in sources_besides(reader):

        async def count(source: Source, count_one: CountOne = count_one) -> None:
            tally.merge(await count_one(reader, source))

        async for batch in in_batches(sources):
            await run_each(batch, count)


@contextmanager
def _failures() -> Iterator[None]:
    """Raise what ends the audit, and what another attempt may mend, as Temporal's own error."""
    try:
        yield
    except Stopped as stopped:
        raise ApplicationError(str(stopped), non_retryable=stopped.final) from None
    except RPCError as error:
        raise ApplicationError(reason_of(error), non_retryable=is_final(error)) from None
    except EnvelopeError as error:
        raise ApplicationError(f"results can't be kept or sealed: {error}") from None


def _origin(work: WindowWork) -> str:
    return f"{work.request.marker} {work.window.part} {work.window.low} {work.window.high}"


def _dump_partial(partial: Partial, work: WindowWork) -> str:
    """Write what the next worker needs. It says of which audit and window it is: anybody could repeat it in another."""
    return f"{_origin(work)}\n{partial.dump()}"


def _load_partial(text: str, work: WindowWork) -> Partial | None:
    """Read what the last worker left. None if it can't be read, or is of another window: this one begins again."""
    origin, _, rest = text.partition("\n")
    if origin != _origin(work):
        return None
    try:
        return Partial.load(rest)
    except (KeyError, TypeError, ValueError):
        return None
