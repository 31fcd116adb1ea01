"""Windows: together they are the whole, none has too many workflows, and a query lists what it says."""

from __future__ import annotations

import itertools

import pytest

from envelope_codec.cli.audit.window import LARGEST, Part, Window, join, read_timestamp, split, timestamp

WHOLE = Window(Part.closed, 0, 1_800_000_000_000)


async def windows_of(moments: list[int]) -> list[Window]:
    async def count(window: Window) -> int:
        return sum(window.low <= moment < window.high for moment in moments)

    return await split(WHOLE, count)


@pytest.mark.parametrize("step", [1, 7, 86_400_000 // 10])
async def test_no_window_has_too_many(step: int) -> None:
    moments = [1_700_000_000_000 + number * step for number in range(LARGEST * 3 + 1)]
    windows = await windows_of(moments)
    sizes = [sum(window.low <= moment < window.high for moment in moments) for window in windows]
    assert sum(sizes) == len(moments)
    assert max(sizes) <= LARGEST
    assert 0 not in sizes
    assert windows == sorted(windows)


async def test_one_moment_can_t_be_split() -> None:
    assert [window.high - window.low for window in await windows_of([1_700_000_000_000] * (LARGEST + 1))] == [1]


async def test_without_counts_it_stays_whole() -> None:
    async def count(window: Window) -> None:
        return None

    assert await split(WHOLE, count) == [WHOLE]


async def test_joined_windows_are_the_whole() -> None:
    moments = [1_500_000_000_000 + number for number in range(LARGEST)] + [1_700_000_000_000] * 10
    windows = join(await windows_of(moments), WHOLE)
    assert (windows[0].low, windows[-1].high) == (WHOLE.low, WHOLE.high)
    assert all(one.high == other.low for one, other in itertools.pairwise(windows))
    assert len(windows) > 1
    assert join([], WHOLE) == [WHOLE]


def test_the_query_of_closed_workflows() -> None:
    query = Window(Part.closed, 0, 1_500).query(2_000, "WorkflowType = 'a' OR WorkflowType = 'b'")
    assert query == (
        "CloseTime >= '1970-01-01T00:00:00.000Z' AND CloseTime < '1970-01-01T00:00:01.500Z' "
        "AND (WorkflowType = 'a' OR WorkflowType = 'b') "
        "AND WorkflowType NOT IN ('envelope-codec.audit', 'envelope-codec.rewrap') "
        "AND (TemporalNamespaceDivision IS NULL OR TemporalNamespaceDivision IS NOT NULL)"
    )


def test_the_query_of_open_workflows_has_those_that_ended_since() -> None:
    query = Window(Part.open, 0, 2_000).query(2_000)
    assert "StartTime < '1970-01-01T00:00:02.000Z'" in query
    assert "ExecutionStatus = 'Running'" in query
    assert "CloseTime >= '1970-01-01T00:00:02.000Z'" in query


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:01Z", 1_000),
        ("1970-01-01T02:00:00.001+02:00", 1),
        (" 2026-12-24T18:00:00Z ", 1_798_135_200_000),
    ],
)
def test_a_time_is_read(text: str, milliseconds: int) -> None:
    assert read_timestamp(text) == milliseconds
    assert read_timestamp(timestamp(milliseconds)) == milliseconds


@pytest.mark.parametrize("text", ["", "now", "2026-12-24T18:00:00", "2026-12-24"])
def test_a_time_without_its_zone_is_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        read_timestamp(text)
