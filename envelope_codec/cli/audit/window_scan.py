"""The scan of one window, page by page, which another process can go on with from its last page."""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from temporalio.service import RPCError, RPCStatusCode
from typing_extensions import Self

from envelope_codec.cli.audit.checkpoint import Result
from envelope_codec.cli.audit.results import dump_runs, load_runs
from envelope_codec.cli.audit.source_tally import run_number, tally_source
from envelope_codec.cli.audit.stopped import Stopped
from envelope_codec.cli.audit.tally import Tally, from_document, to_document
from envelope_codec.cli.reading.batch import run_each
from envelope_codec.cli.reading.reader import Reader, Source

_REFUSALS = (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.UNKNOWN)
"""What servers answer to a page token that they do not take."""

_TRIES = 3
_REFUSED_AGAIN = "the server refuses its own page tokens again and again"


@dataclass
class Partial:
    """What is known of a window of which some pages were read.

    Attributes:
        token: of the next page.
        tally: of the pages before.
        runs: the number of each run in them.
        read_at: when the first page was read, in milliseconds since 1970.
    """

    token: bytes = b""
    tally: Tally = field(default_factory=Tally)
    runs: set[int] = field(default_factory=set)
    read_at: int = field(default_factory=lambda: int(time.time() * 1000))

    def dump(self) -> str:
        """Write it as text."""
        return json.dumps(
            {
                "token": self.token.hex(),
                "tally": to_document(self.tally),
                "runs": dump_runs(self.runs),
                "read_at": self.read_at,
            }
        )

    @classmethod
    def load(cls, text: str) -> Self:
        """Read what `dump` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        document = json.loads(text)
        runs = set(load_runs(document["runs"]))
        tally = from_document(document["tally"])
        return cls(bytes.fromhex(document["token"]), tally, runs, int(document["read_at"]))

    def result(self) -> Result:
        """Make the result of the whole window of it."""
        return Result(self.tally, array("Q", sorted(self.runs)), self.read_at)


class WindowScan:
    """The scan of one window.

    Args:
        reader: of the namespace.
        query: lists the window.
        keep: is given what is known after each page but the last.
    """

    def __init__(self, reader: Reader, query: str, keep: Callable[[Partial], None] = lambda partial: None) -> None:
        self._reader = reader
        self._query = query
        self._keep = keep

    async def read(self, partial: Partial | None = None) -> Result:
        """Read the window, or what is left of it after ``partial``.

        A page token that the server refuses begins the window again: nothing of what was counted stays.

        Raises:
            Stopped: the query is refused, or a workflow can't be read for a reason that is not its own.
            RPCError: the window can't be listed.
        """
        for _ in range(_TRIES):
            try:
                return await self._read(partial or Partial())
            except _TokenRefused:
                partial = None
        raise Stopped(_REFUSED_AGAIN, final=False)

    async def list_runs(self) -> set[int]:
        """List the runs of the window, without reading them.

        Raises:
            Stopped, RPCError: as `read`.
        """
        for _ in range(_TRIES):
            runs, token = set[int](), b""
            try:
                while True:
                    sources, token = await self._page(token)
                    runs |= {run_number(source.run_id) for source in sources}
                    if not token:
                        return runs
            except _TokenRefused:
                continue
        raise Stopped(_REFUSED_AGAIN, final=False)

    async def _read(self, partial: Partial) -> Result:
        while True:
            sources, token = await self._page(partial.token)
            found = {run_number(one.run_id): one for one in sources}
            # A run that changes while pages are turned may come twice.
            await self._count([one for number, one in found.items() if number not in partial.runs], partial.tally)
            partial.runs.update(found)
            partial.token = token
            if not token:
                return partial.result()
            self._keep(partial)

    async def _count(self, sources: list[Source], tally: Tally) -> None:
        async def count(source: Source) -> None:
            tally.merge(await tally_source(self._reader, source))

        await run_each(sources, count)

    async def _page(self, token: bytes) -> tuple[list[Source], bytes]:
        try:
            return await self._reader.page(self._query, token)
        except RPCError as error:
            if token and error.status in _REFUSALS:
                raise _TokenRefused from None
            if error.status is RPCStatusCode.INVALID_ARGUMENT:
                raise Stopped(f"the server refuses the query: {error.message}") from None
            raise


class _TokenRefused(Exception):
    """The server does not take a page token."""
