"""Bars of payloads over time, as SVG in a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from html import escape
from typing import NamedTuple

MOST_BARS = 60

_EPOCH = date(1970, 1, 1)
_LONGEST = 3_653
"""Days that an axis covers at most. Records say of themselves when they were made, and may say anything."""

_WIDTH, _HEIGHT, _GAP, _LOWEST, _WIDEST = 600, 80, 0.15, 2, 40


class Axis(NamedTuple):
    """The span of days that all charts of a page have in common.

    Attributes:
        first: its first day, in days since 1970.
        step: how many days a bar stands for.
        bars: how many bars it has.
    """

    first: int
    step: int
    bars: int

    @classmethod
    def over(cls, days: Iterable[int], today: int) -> Axis:
        """Make the axis from the first of ``days`` to ``today``. Days long before or after are left out."""
        fitting = [day for day in days if today - _LONGEST < day <= today + 1]
        first, last = min(fitting, default=today), max([today, *fitting])
        step = -(-(last - first + 1) // MOST_BARS)
        return cls(first, step, -(-(last - first + 1) // step))

    def place(self, day: int) -> int | None:
        """Return which bar ``day`` belongs to, or None."""
        number = (day - self.first) // self.step
        return number if 0 <= number < self.bars else None

    def label(self, bar: int) -> str:
        """Name the days of a bar."""
        first = _EPOCH + timedelta(days=self.first + bar * self.step)
        return f"{first}" if self.step == 1 else f"{first} to {first + timedelta(days=self.step - 1)}"


def draw(days: Mapping[int, int], axis: Axis, label: str) -> str:
    """Draw payloads by day. What the axis does not cover is counted below it.

    Args:
        days: the number of payloads, by days since 1970.
        axis: of the chart.
        label: what it shows, for people who hear it read.
    """
    bars: Counter[int] = Counter()
    outside = 0
    for day, payloads in days.items():
        place = axis.place(day)
        if place is None:
            outside += payloads
        else:
            bars[place] += payloads
    most = max(bars.values(), default=0)
    begin, end = axis.label(0)[:10], axis.label(axis.bars - 1)[-10:]
    other = f" {outside:,} are of other days." if outside else ""
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">{"".join(_bar(axis, bar, bars[bar], most) for bar in sorted(bars))}</svg>\n'
        f'<div class="axis"><span>{begin}</span><span>{end}</span></div>\n'
        f"<figcaption>Payloads by the {'day' if axis.step == 1 else f'{axis.step} days'} in which their key was made, "
        f"{most:,} at most.{other}</figcaption></figure>\n"
    )


def _bar(axis: Axis, bar: int, payloads: int, most: int) -> str:
    step = _WIDTH / axis.bars
    width = min(step * (1 - _GAP), _WIDEST)
    height = max(_LOWEST, _HEIGHT * payloads / most)
    return (
        f'<rect x="{(bar + 0.5) * step - width / 2:.1f}" y="{_HEIGHT - height:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}"><title>{axis.label(bar)}: {payloads:,}</title></rect>'
    )
