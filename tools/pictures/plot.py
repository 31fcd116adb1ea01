"""Plots of series over time, as SVG that can be read in light and in dark mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

COLOURS = 8

_WIDTH, _HEIGHT = 372.0, 132.0  # of a plot, with its axes
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 8.0, 24.0, 16.0
_LEGEND_LEADING = 13.0
_MOST_IN_LEGEND = 6
_GAP = 3  # steps without a value, beyond which a line is broken

STYLE = """
text { font: 11px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 12px }
.heading { font-weight: 600; font-size: 15px }
.axis { fill: #57606a; font-size: 10px }
.legend { font-size: 10px }
.page { fill: #ffffff }
.grid { stroke: #d0d7de; stroke-width: 1 }
.band { fill: #cf222e; fill-opacity: .09 }
.bar { fill: #cf222e }
.line { fill: none; stroke-width: 1.5; stroke-linejoin: round }
.c0 { stroke: #0969da } .c1 { stroke: #bc4c00 } .c2 { stroke: #1a7f37 } .c3 { stroke: #8250df }
.c4 { stroke: #bf3989 } .c5 { stroke: #9a6700 } .c6 { stroke: #57606a } .c7 { stroke: #cf222e }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.axis { fill: #9da7b1 }
.page { fill: #0d1117 }
.grid { stroke: #3d444d }
.band { fill: #ff7b72; fill-opacity: .14 }
.bar { fill: #ff7b72 }
.c0 { stroke: #58a6ff } .c1 { stroke: #f0883e } .c2 { stroke: #56d364 } .c3 { stroke: #bc8cff }
.c4 { stroke: #f778ba } .c5 { stroke: #e3b341 } .c6 { stroke: #9da7b1 } .c7 { stroke: #ff7b72 }
}
"""


class Series(NamedTuple):
    """One line: its name, and its points as seconds and value."""

    name: str
    points: Sequence[tuple[float, float]]


class Band(NamedTuple):
    """A span of time that is marked in every plot, in seconds."""

    begin: float
    end: float


class Plot(NamedTuple):
    """A plot.

    Attributes:
        title: above it.
        series: its lines, with the most telling first.
        spelled: writes a value for its axis.
    """

    title: str
    series: Sequence[Series]
    spelled: Callable[[float], str]

    @property
    def height(self) -> float:
        """Of the plot with its legend, in pixels."""
        return _HEIGHT + _LEGEND_LEADING * min(len(self.series), _MOST_IN_LEGEND + 1) + 10

    def svg(self, left: float, top: float, seconds: float, step: float, bands: Sequence[Band]) -> list[str]:
        """Return the plot's parts, with its corner at ``left`` and ``top``. The axis of time has ``seconds``."""
        wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        most = max((value for one in self.series for _, value in one.points), default=0.0) or 1.0

        def x(at: float) -> float:
            return left + _LEFT + wide * min(max(at / seconds, 0.0), 1.0)

        def y(value: float) -> float:
            return top + _TOP + high * (1 - value / most)

        parts = [f'<text class="title" x="{left:g}" y="{top + 13:g}">{escape(self.title)}</text>']
        parts += [
            f'<rect class="band" x="{x(band.begin):.1f}" y="{y(most):.1f}" '
            f'width="{x(band.end) - x(band.begin):.1f}" height="{high:g}"/>'
            for band in bands
        ]
        for share in (0.0, 0.5, 1.0):
            level = y(most * share)
            parts.append(
                f'<line class="grid" x1="{left + _LEFT:g}" x2="{left + _WIDTH - _RIGHT:g}" '
                f'y1="{level:.1f}" y2="{level:.1f}"/>'
            )
            parts.append(
                f'<text class="axis" text-anchor="end" x="{left + _LEFT - 4:g}" y="{level + 3.5:.1f}">'
                f"{escape(self.spelled(most * share))}</text>"
            )
        minutes = int(seconds // 60)
        for minute in range(0, minutes + 1, max(1, minutes // 4)):
            anchor = "end" if x(60 * minute) > left + _WIDTH - 30 else "middle"
            parts.append(
                f'<text class="axis" text-anchor="{anchor}" x="{x(60 * minute):.1f}" y="{top + _HEIGHT - 3:g}">'
                f"{minute} min</text>"
            )
        for number, one in enumerate(self.series):
            path = _path([(x(at), y(value), at) for at, value in one.points], step)
            parts.append(f'<path class="line c{number % COLOURS}" d="{path}"/>')
        return parts + self._legend(left, top + _HEIGHT + 10)

    def _legend(self, left: float, top: float) -> list[str]:
        parts = []
        for number, one in enumerate(self.series[:_MOST_IN_LEGEND]):
            line = top + _LEGEND_LEADING * number
            parts.append(
                f'<line class="line c{number % COLOURS}" x1="{left + _LEFT:g}" x2="{left + _LEFT + 14:g}" '
                f'y1="{line - 3.5:g}" y2="{line - 3.5:g}"/>'
                f'<text class="legend" x="{left + _LEFT + 19:g}" y="{line:g}">{escape(one.name)}</text>'
            )
        more = len(self.series) - _MOST_IN_LEGEND
        if more > 0:
            line = top + _LEGEND_LEADING * _MOST_IN_LEGEND
            parts.append(f'<text class="legend" x="{left + _LEFT + 19:g}" y="{line:g}">and {more} more</text>')
        return parts


def _path(points: Sequence[tuple[float, float, float]], step: float) -> str:
    """Draw through ``points`` of x, y and seconds, with a break where values are missing."""
    words, before = [], None
    for x, y, at in points:
        joined = before is not None and at - before <= _GAP * step
        words.append(f"{'L' if joined else 'M'}{x:.1f} {y:.1f}")
        before = at
    return "".join(words)


def bars(
    left: float, top: float, seconds: float, rows: Sequence[tuple[str, Sequence[Band]]], bands: Sequence[Band]
) -> tuple[list[str], float]:
    """Draw a row of bars for each name, over the whole width of two plots. Return the parts and their height."""
    labels, width, leading = 190.0, 2 * _WIDTH + 16 - _RIGHT, 18.0

    def x(at: float) -> float:
        return left + labels + (width - labels) * min(max(at / seconds, 0.0), 1.0)

    height = leading * len(rows)
    parts = [
        f'<rect class="band" x="{x(band.begin):.1f}" y="{top:g}" width="{x(band.end) - x(band.begin):.1f}" '
        f'height="{height:g}"/>'
        for band in bands
    ]
    for number, (name, spans) in enumerate(rows):
        line = top + leading * number
        parts.append(f'<text x="{left:g}" y="{line + 13:g}">{escape(name)}</text>')
        parts += [
            f'<rect class="bar" x="{x(span.begin):.1f}" y="{line + 4:g}" '
            f'width="{max(2.0, x(span.end) - x(span.begin)):.1f}" height="10" rx="2"/>'
            for span in spans
        ]
    return parts, height


PLOT_WIDTH = _WIDTH
