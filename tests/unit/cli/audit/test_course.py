"""The course of a distributed audit: what is done after what, how much in one run, and what replaces what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter

from envelope_codec.cli.audit.course import PAGE, RUN, Course
from envelope_codec.cli.audit.findings import ROUNDS
from envelope_codec.cli.audit.messages import Beginning, Kept, Others, Plan, Position, Request, Span, Summary

T0 = 1_000_000
REQUEST = Request("1", "default", "", None, 60, 200, 8, 30, "marker")


class Fake:
    """Does the pieces of work on windows of one millisecond each, as many as each part is said to have."""

    def __init__(self, closed: int = 3, running: int = 1, since: int = 1) -> None:
        self.sizes = {"closed": closed, "open": running, "since": since}
        self.pages: dict[str, list[Kept]] = {}
        self.log: list[str] = []
        self.reads: list[Span] = []
        self.compared: list[Span] = []
        self.news: Callable[[Span, int], int] = lambda window, time: 0
        self.told: set[tuple[str, ...]] = set()
        self.waits = False
        self.at_once = self.most = 0

    async def begin(self) -> Beginning:
        self.log.append("begin")
        return Beginning(T0, self.waits, 86_400, False)

    async def plan(self, as_of: int, window: Span, limit: int) -> Plan:
        assert as_of == T0
        base = T0 if window.part == "since" else 0
        first, last = window.low - base, self.sizes[window.part]
        windows = [Span(window.part, base + n, base + n + 1) for n in range(first, min(first + limit, last))]
        self.log.append(f"plan {window.part}")
        return Plan(windows, base + last, 10 * (last - first))

    async def read(self, as_of: int, window: Span, not_listed: list[str]) -> Kept:
        self.told.add((window.part, *not_listed))
        self.reads.append(window)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return Kept(window, f"{window.part}-{window.low}-1", 10)

    async def compare(self, as_of: int, kept: Kept, not_listed: list[str]) -> Kept:
        self.told.add(("compared", *not_listed))
        self.compared.append(kept.window)
        time = self.compared.count(kept.window)
        new = self.news(kept.window, time)
        result = f"{kept.window.part}-{kept.window.low}-{time + 1}" if new else kept.result
        return Kept(kept.window, result, kept.sources + new, new)

    async def read_others(self) -> Others:
        self.log.append("others")
        return Others("others-1", ["standalone activity"])

    async def keep(self, windows: list[Kept]) -> str:
        id = f"page-{len(self.pages)}"
        self.pages[id] = list(windows)
        return id

    async def load(self, page: str) -> list[Kept]:
        return list(self.pages[page])

    async def sleep(self, seconds: float) -> None:
        self.log.append(f"sleep {seconds}")

    def results(self, summary: Summary, part: str) -> list[str]:
        return [kept.result for page in summary.pages[part] for kept in self.pages[page]]


async def run(fake: Fake, request: Request = REQUEST) -> tuple[Summary, list[int]]:
    """Run to the end, over as many runs as it takes. Return the summary, and how many windows each run worked on."""
    position, runs = Position(), list[int]()
    while True:
        before = len(fake.reads) + len(fake.compared)
        summary = await Course(request, position, fake).run()
        runs.append(len(fake.reads) + len(fake.compared) - before)
        if summary is not None:
            return summary, runs
        [payload] = await DataConverter.default.encode([position])  # as it goes from run to run
        [position] = await DataConverter.default.decode([Payload.FromString(payload.SerializeToString())], [Position])


async def test_each_part_is_read_and_compared() -> None:
    fake = Fake()
    summary, runs = await run(fake)
    assert fake.log == ["begin", "plan closed", "plan open", "others", "plan since"]
    assert fake.results(summary, "closed") == ["closed-0-1", "closed-1-1", "closed-2-1"]
    assert [span.part for span in fake.compared] == ["closed"] * 3 + ["open"], "what has started since is not compared"
    assert (summary.new, summary.others, len(runs)) == (0, "others-1", 1)
    assert summary.beginning.as_of == T0


async def test_kinds_that_the_server_does_not_list_count_among_workflows() -> None:
    """They are known once schedules and so on were read. So those of the parts before are found by the comparison."""
    fake = Fake()
    await run(fake)
    kind = "standalone activity"
    assert fake.told == {("closed",), ("open",), ("compared", kind), ("since", kind)}


async def test_it_waits_only_where_the_server_may_not_list_all_yet() -> None:
    fake = Fake()
    fake.waits = True
    await run(fake)
    assert fake.log[:2] == ["begin", "sleep 60"]


async def test_a_run_has_500_windows_at_most_and_the_next_one_goes_on() -> None:
    fake = Fake(closed=2 * RUN + 50, running=PAGE + 1, since=PAGE)
    summary, runs = await run(fake)
    assert max(runs) <= RUN
    assert len(runs) > 5
    assert len(fake.reads) == len(set(fake.reads)) == 2 * RUN + 50 + PAGE + 1 + PAGE, "each window is read once"
    assert len(fake.compared) == len(set(fake.compared)) == 2 * RUN + 50 + PAGE + 1, "and compared once"
    assert fake.results(summary, "closed") == [f"closed-{number}-1" for number in range(2 * RUN + 50)]
    assert fake.log.count("begin") == fake.log.count("others") == 1


async def test_what_goes_to_the_next_run_has_no_windows() -> None:
    """But ids of pages: so it stays small, however many workflows there are."""
    fake = Fake(closed=20 * PAGE)
    position = Position()
    while await Course(REQUEST, position, fake).run() is None:
        assert len(json.dumps(asdict(position))) < 2_000


async def test_so_many_windows_are_worked_on_at_once() -> None:
    fake = Fake(closed=100)
    await run(fake, replace(REQUEST, at_once=5))
    assert fake.most == 5


async def test_a_later_result_replaces_the_window_s_first() -> None:
    fake = Fake()
    fake.news = lambda window, time: 2 if window == Span("closed", 1, 2) and time == 1 else 0
    summary, _ = await run(fake)
    assert fake.results(summary, "closed") == ["closed-0-1", "closed-1-2", "closed-2-1"]
    assert summary.new == 0
    assert len(fake.compared) == 8, "a second comparison, with nothing new, ends it"


@pytest.mark.parametrize(("until", "new"), [(ROUNDS - 1, 0), (ROUNDS, 1)])
async def test_after_three_comparisons_with_something_new_it_is_incomplete(until: int, new: int) -> None:
    fake = Fake()
    fake.news = lambda window, time: int(window.part == "open" and time <= until)
    summary, _ = await run(fake)
    assert summary.new == new
    assert fake.compared.count(Span("open", 0, 1)) == ROUNDS


async def test_how_far_it_has_come_is_told() -> None:
    fake, position = Fake(closed=PAGE + 1), Position()
    seen = list[tuple[str, int, int | None]]()
    read = fake.read

    async def note(as_of: int, window: Span, not_listed: list[str]) -> Kept:
        seen.append((position.doing, position.done, position.total))
        return await read(as_of, window, not_listed)

    fake.read = note  # type: ignore[method-assign]
    await Course(replace(REQUEST, at_once=1), position, fake).run()
    assert seen[0] == ("reading closed workflows", 0, 10 * (PAGE + 1))
    assert seen[PAGE] == ("reading closed workflows", 10 * PAGE, 10 * (PAGE + 1))


async def test_the_first_error_ends_it() -> None:
    fake = Fake()

    async def fail(as_of: int, window: Span, not_listed: list[str]) -> Kept:
        raise ValueError

    fake.read = fail  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"^$"):
        await run(fake)
