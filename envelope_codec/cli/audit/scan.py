"""The scan of a namespace: every workflow that there was at one moment is read once, and counted."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Awaitable, Callable

from temporalio.api.enums.v1 import ArchivalState
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.cli.audit.checkpoint import Checkpoint, Result
from envelope_codec.cli.audit.findings import ROUNDS, Findings
from envelope_codec.cli.audit.moment import latest_moment
from envelope_codec.cli.audit.own_runs import CountOne, in_batches, sources_besides
from envelope_codec.cli.audit.record_import import RecordImport
from envelope_codec.cli.audit.source_tally import run_number, tally_source
from envelope_codec.cli.audit.stopped import Stopped
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.cli.audit.window import Part, Window, join, split, timestamp, whole_of
from envelope_codec.cli.reading.batch import run_each
from envelope_codec.cli.reading.progress import Watcher
from envelope_codec.cli.reading.reader import Reader, Source

_FRESH = 86_400_000
"""For how many milliseconds what a checkpoint says of open workflows holds. They go on meanwhile."""

_ARCHIVED = ArchivalState.ARCHIVAL_STATE_ENABLED


class Scan:
    """One scan.

    Args:
        reader: of the namespace.
        checkpoint: has what an earlier process has counted.
        watcher: is told how far the scan has come.
        condition: a query, if not all workflows are wanted.
        wait: how many seconds the server may need to list a workflow that has started or ended.
        sleep: waits for so many seconds.
        importer: gets the records that are found. Those of a window are imported before its result is kept.
    """

    def __init__(
        self,
        reader: Reader,
        checkpoint: Checkpoint,
        watcher: Watcher,
        condition: str = "",
        wait: float = 60.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        importer: RecordImport | None = None,
    ) -> None:
        self._reader = reader
        self._checkpoint = checkpoint
        self._watcher = watcher
        self._condition = condition
        self._wait = wait
        self._sleep = sleep
        self._importer = importer
        self._as_of = 0

    async def run(self) -> Findings:
        """Scan the namespace.

        Raises:
            Stopped: the server can't be asked, or a record can't be imported.
        """
        try:
            return await self._scan()
        except RPCError as error:
            raise Stopped.at(f"namespace {self._reader.namespace!r}", error) from None

    async def _scan(self) -> Findings:
        described = await self._reader.check()
        self._checkpoint.identify(described.namespace_info.id)
        self._as_of = await self._choose_moment()
        for part in (Part.closed, Part.open):
            await self._read_part(part)
        others = await self._read_others()
        new = await self._compare()
        since = await self._read_since()
        config = described.config
        return Findings(
            as_of=self._as_of,
            read_at=min(result.read_at for result in self._results(Part.open)),
            parts={
                **{part: Tally.of(one.tally for one in self._results(part)) for part in (Part.closed, Part.open)},
                Part.since: since,
            },
            others=others,
            retention=config.workflow_execution_retention_ttl.ToTimedelta().total_seconds(),
            archived=_ARCHIVED in (config.history_archival_state, config.visibility_archival_state),
            new=new,
        )

    def _results(self, part: Part) -> list[Result]:
        return [self._checkpoint.results[window] for window in self._checkpoint.windows[part]]

    async def _choose_moment(self) -> int:
        """Fix T0, and wait until the server lists what had happened by then."""
        now = await latest_moment(self._reader)
        as_of = self._checkpoint.as_of
        if as_of is not None and as_of > max(now, _now()):
            raise Stopped(f"the moment {timestamp(as_of)} is yet to come")
        if as_of is None or as_of > now - self._wait * 1000:
            self._watcher.expect("waiting until the server lists what has happened", None)
            await self._sleep(self._wait)
        self._checkpoint.begin(now if as_of is None else as_of)
        return now if as_of is None else as_of

    def _whole(self, part: Part) -> Window:
        return whole_of(part, self._as_of, _now())

    async def _read_part(self, part: Part) -> None:
        if part not in self._checkpoint.windows:
            self._watcher.expect(f"dividing the {part.value} workflows", None)
            whole = self._whole(part)
            self._checkpoint.plan(part, join(await split(whole, self._count), whole))
        windows = self._checkpoint.windows[part]
        missing = [window for window in windows if not self._is_known(window)]
        self._watcher.expect(f"reading {part.value} workflows", await self._count_all(missing))
        for window in missing:
            await self._read_window(window)

    def _is_known(self, window: Window) -> bool:
        """Whether the checkpoint has the window. What it says of closed workflows holds for ever."""
        result = self._checkpoint.results.get(window)
        return result is not None and (window.part is Part.closed or result.read_at > _now() - _FRESH)

    async def _count(self, window: Window) -> int | None:
        return await self._reader.count(window.query(self._as_of, self._condition))

    async def _count_all(self, windows: list[Window]) -> int | None:
        counts = [await self._count(window) for window in windows]
        return None if None in counts else sum(count or 0 for count in counts)

    async def _read_window(self, window: Window) -> None:
        """Read a window from its beginning. What was known of it is replaced at the end."""
        tally, read_at, sources = Tally(), _now(), await self._list(window)
        await self._count_each(list(sources.values()), tally)
        self._checkpoint.put(window, Result(tally, array("Q", sorted(sources)), read_at))

    async def _list(self, window: Window) -> dict[int, Source]:
        """List the runs of a window, each once. A token that the server refuses begins the list again, once."""
        query = window.query(self._as_of, self._condition)
        for attempt in (1, 2):
            try:
                return {run_number(one.run_id): one async for one in self._reader.workflows(query)}
            except RPCError as error:
                if attempt == 2 or error.status not in (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.UNKNOWN):
                    if error.status is RPCStatusCode.INVALID_ARGUMENT:
                        raise Stopped(f"the server refuses the query: {error.message}") from None
                    raise
        raise AssertionError

    async def _count_each(self, sources: list[Source], tally: Tally, count_one: CountOne = tally_source) -> None:
        async def count(source: Source) -> None:
            tally.merge(await count_one(self._reader, source, self._importer))
            self._watcher.advance()

        await run_each(sources, count)

    async def _read_others(self) -> Tally:
        """Read schedules, standalone activities and operations, unless only some workflows are wanted."""
        tally = Tally()
        if self._condition:
            return tally
        self._watcher.expect("reading schedules, standalone activities and operations", None)
        for sources, count_one in sources_besides(self._reader):
            async for batch in in_batches(sources):
                await self._count_each(batch, tally, count_one)
        return tally

    async def _compare(self) -> int:
        """List everything again, and read the windows in which something is new, until nothing is.

        Returns:
            How many runs the last comparison had found new: 0, or it was one too many.
        """
        new = 0
        for number in range(1, ROUNDS + 1):
            new = 0
            for part in (Part.closed, Part.open):
                windows = self._checkpoint.windows[part]
                self._watcher.expect(f"comparing the lists of {part.value} workflows, {number}", len(windows))
                for window in windows:
                    found = len((await self._list(window)).keys() - set(self._checkpoint.results[window].runs))
                    if found:
                        await self._read_window(window)
                    new += found
                    self._watcher.advance()
            if not new:
                break
        return new

    async def _read_since(self) -> Tally:
        """Read what has started since T0: who seals now shows there."""
        whole = self._whole(Part.since)
        tally = Tally()
        self._watcher.expect("reading what has started since", None)
        for window in join(await split(whole, self._count), whole):
            await self._count_each(list((await self._list(window)).values()), tally)
        return tally


def _now() -> int:
    return int(time.time() * 1000)
