"""The chart: each payload is in the bar of its day, and no claim about time spoils it."""

from __future__ import annotations

import re

import pytest

from envelope_codec.cli.audit.chart import MOST_BARS, Axis, draw

TODAY = 20_000  # 2024-10-04


def test_a_bar_is_a_day_where_they_fit() -> None:
    axis = Axis.over([TODAY - 2, TODAY], TODAY)
    assert axis == Axis(TODAY - 2, 1, 3)
    shown = draw({TODAY - 2: 4, TODAY: 1_204}, axis, "of a key")
    assert re.findall("<title>(.*?)</title>", shown) == ["2024-10-02: 4", "2024-10-04: 1,204"]
    assert re.findall('height="([0-9.]+)"', shown) == ["2.0", "80.0"], "the smallest can be seen"
    assert "<span>2024-10-02</span><span>2024-10-04</span>" in shown


@pytest.mark.parametrize("days", [1, 59, 60, 61, 119, 120, 3_652])
def test_every_day_of_the_axis_has_one_bar(days: int) -> None:
    first = TODAY - days + 1
    axis = Axis.over([first], TODAY)
    places = [axis.place(day) for day in range(first, TODAY + 1)]
    assert axis.bars <= MOST_BARS
    assert (places[0], places[-1]) == (0, axis.bars - 1)
    assert places == sorted(places, key=lambda place: place or 0)


def test_several_days_are_one_bar() -> None:
    axis = Axis.over([TODAY - 119], TODAY)
    shown = draw({TODAY - 119: 2, TODAY - 118: 3}, axis, "of a key")
    assert re.findall("<title>(.*?)</title>", shown) == ["2024-06-07 to 2024-06-08: 5"]
    assert "by the 2 days in which" in shown


@pytest.mark.parametrize("claimed", [2**64 // 86_400, 0, -1, TODAY + 2])
def test_a_day_that_is_made_up_does_not_stretch_the_axis(claimed: int) -> None:
    axis = Axis.over([claimed, TODAY - 1], TODAY)
    assert axis == Axis(TODAY - 1, 1, 2)
    assert "7 are of other days" in draw({claimed: 7, TODAY: 1}, axis, "of a key")


def test_nothing_that_fits_is_no_error() -> None:
    assert "<rect" not in draw({0: 7}, Axis.over([], TODAY), "of a key")


def test_the_label_is_text() -> None:
    assert "<b>" not in draw({TODAY: 1}, Axis.over([], TODAY), '"><b>')
