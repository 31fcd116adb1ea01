"""The course of a distributed audit: what is done after what, window by window. Nothing here asks anybody.

It is the same scan as on one machine, cut into pieces of work that any worker can do. It runs in a workflow, and so is
deterministic: the same answers to its pieces of work lead to the same next ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from envelope_codec.cli.audit.findings import ROUNDS
from envelope_codec.cli.audit.messages import Beginning, Kept, Others, Plan, Position, Request, Span, Summary
from envelope_codec.cli.audit.window import Part

_T = TypeVar("_T")
_R = TypeVar("_R")

PAGE = 250
"""How many windows are planned, read and kept together, at most."""

RUN = 500
"""How many windows one run of the workflow works on at most, before it continues as new: its history is bounded."""


class Work(Protocol):
    """The pieces of work. Each is done by one worker, and done again by another if that one ends."""

    async def begin(self) -> Beginning: ...

    async def plan(self, as_of: int, window: Span, limit: int) -> Plan:
        """Plan the first windows, ``limit`` at most. Where ``window`` ends at 0, it has all that comes."""
        ...

    async def read(self, as_of: int, window: Span, not_listed: list[str]) -> Kept: ...

    async def compare(self, as_of: int, kept: Kept, not_listed: list[str]) -> Kept:
        """List a window again, and read it anew if something is new."""
        ...

    async def read_others(self) -> Others: ...

    async def keep(self, windows: list[Kept]) -> str:
        """Keep a page of windows."""
        ...

    async def load(self, page: str) -> list[Kept]: ...

    async def sleep(self, seconds: float) -> None: ...


class Course:
    """The course of one run of the workflow.

    Args:
        request: what is audited.
        position: how far it has come. It is changed.
        work: does the pieces of work.
    """

    def __init__(self, request: Request, position: Position, work: Work) -> None:
        self._request = request
        self._position = position
        self._work = work
        self._left = RUN

    async def run(self) -> Summary | None:
        """Go on from the position. Return None if there is more to do than one run may: another goes on from there."""
        at = self._position
        beginning = at.beginning or await self._begin()
        for part in (Part.closed, Part.open):
            if not await self._read_part(part, 0, beginning.as_of):
                return None
        others = at.others = at.others or await self._read_others()
        if not await self._compare_all() or not await self._read_part(Part.since, beginning.as_of, 0):
            return None
        return Summary(self._request, beginning, at.pages, others.result, at.new)

    async def _begin(self) -> Beginning:
        beginning = await self._work.begin()
        if beginning.waits:
            self._expect("waiting until the server lists what has happened", None)
            await self._work.sleep(self._request.wait)
        self._position.beginning = beginning
        return beginning

    def _expect(self, doing: str, total: int | None) -> None:
        self._position.doing, self._position.done, self._position.total = doing, 0, total

    def _as_of(self) -> int:
        assert self._position.beginning is not None  # noqa: S101 - it comes first
        return self._position.beginning.as_of

    def _not_listed(self) -> list[str]:
        return self._position.others.not_listed if self._position.others is not None else []

    async def _read_part(self, part: Part, low: int, high: int) -> bool:
        """Read a part, page by page. Return whether it is done."""
        at, name = self._position, part.value
        if name not in at.pages:
            at.pages[name], at.reading = [], Span(name, low, high)
            self._expect(f"reading {name} workflows", None)
        while at.reading is not None and at.reading.part == name:
            if self._left < PAGE:
                return False
            plan = await self._work.plan(self._as_of(), at.reading, PAGE)
            at.total = None if plan.total is None else at.done + plan.total
            at.pages[name].append(await self._read_page(plan.windows))
            end = plan.windows[-1].high
            at.reading = Span(name, end, plan.high) if end < plan.high else None
        return True

    async def _read_page(self, windows: list[Span]) -> str:
        self._left -= len(windows)
        return await self._work.keep(await self._each(windows, self._read_window))

    async def _read_window(self, window: Span) -> Kept:
        kept = await self._work.read(self._as_of(), window, self._not_listed())
        self._position.done += kept.sources
        return kept

    async def _read_others(self) -> Others:
        self._expect("reading schedules, standalone activities and operations", None)
        return await self._work.read_others()

    async def _compare_all(self) -> bool:
        """Compare until nothing is new, `ROUNDS` times at most. Return whether that is done."""
        at = self._position
        while at.comparison <= ROUNDS:
            if not await self._compare():
                return False
            if not at.new or at.comparison == ROUNDS:
                at.comparison = ROUNDS + 1
                return True
            at.comparison, at.compared, at.new = at.comparison + 1, 0, 0
        return True

    async def _compare(self) -> bool:
        """List all windows again, page by page. Return whether that is done."""
        at = self._position
        pages = [(part, number) for part in (Part.closed, Part.open) for number in range(len(at.pages[part.value]))]
        if not at.compared:
            self._expect(f"comparing the lists, {at.comparison}", None)
        for part, number in pages[at.compared :]:
            if self._left < PAGE:
                return False
            kept = await self._work.load(at.pages[part.value][number])
            self._left -= len(kept)
            again = await self._each(kept, self._compare_window)
            if again != kept:
                at.pages[part.value][number] = await self._work.keep(again)
            at.compared += 1
        return True

    async def _compare_window(self, kept: Kept) -> Kept:
        again = await self._work.compare(self._as_of(), kept, self._not_listed())
        self._position.new += again.new
        self._position.done += 1
        return Kept(again.window, again.result, again.sources)

    async def _each(self, things: list[_T], do: Callable[[_T], Awaitable[_R]]) -> list[_R]:
        """Do it with each thing, some at once, and return what came of them in order. The first error ends it."""
        done: dict[int, _R] = {}
        waiting = iter(enumerate(things))

        async def work() -> None:
            for number, thing in waiting:
                done[number] = await do(thing)

        await asyncio.gather(*(work() for _ in range(min(self._request.at_once, len(things)))))
        return [done[number] for number in range(len(things))]
