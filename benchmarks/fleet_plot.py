"""docs/scaling.svg: calls of a deploy's busiest second, and of a second in steady state, by the number of workers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from html import escape

from benchmarks import fleet_model
from benchmarks.fleet_prices import AWS_QUOTA, GCP_QUOTA, MONTH, dollars
from benchmarks.fleet_scenarios import ALL_1, FAMILIES
from benchmarks.fleet_shape import Fleet

Points = Mapping[str, Iterable[tuple[int, float]]]
"""Line of the plot to what was simulated: number of workers, calls a second."""

_WIDTH, _HEIGHT, _LEFT, _TOP = 400, 300, 70, 50
_GAP = 130
_COLOURS = ("#0b6e99", "#d1495b", "#2e933c", "#8a5a00")
_RANGES = ((10.0, 100_000.0), (0.01, 10_000.0))  # calls a second in each panel
_WORKERS = [10, 20, 50, 100, 200, 500, 1_000]


def plot(startups: Points, steadies: Points) -> str:
    """The whole picture."""
    width, height = 2 * _WIDTH + _LEFT + _GAP + 80, _HEIGHT + 150
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *_panel(0, "Deploy of all workers at once: busiest second", peaks(), startups),
        *_quota(AWS_QUOTA, "AWS, smallest regions: 10,000 a second"),
        *_quota(GCP_QUOTA / 60, "GCP: 60,000 a minute"),
        *_panel(1, "Steady state", rates(), steadies),
        *_dollars(),
        *_legend(height - 42),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def peaks() -> dict[str, list[tuple[int, float]]]:
    """The lines of the first panel: calls of the busiest second."""
    return _lines(lambda fleet: max(fleet_model.startup(fleet, 5)))


def rates() -> dict[str, list[tuple[int, float]]]:
    """The lines of the second panel: calls a second."""
    return _lines(lambda fleet: fleet_model.steady(fleet).total)


def _lines(value: Callable[[Fleet], float]) -> dict[str, list[tuple[int, float]]]:
    return {
        name: [(workers, value(replace(fleet, workers=workers))) for workers in _WORKERS if workers >= fleet.group]
        for name, fleet in FAMILIES.items()
    }


def drawn() -> list[str]:
    """The lines of both panels, as attributes of SVG elements."""
    return [_drawn(panel, line) for panel, lines in enumerate((peaks(), rates())) for line in lines.values()]


def _drawn(panel: int, line: Iterable[tuple[int, float]]) -> str:
    return " ".join(f"{_x(panel, workers):.1f},{_y(panel, value):.1f}" for workers, value in line)


def _panel(panel: int, title: str, lines: Mapping[str, list[tuple[int, float]]], points: Points) -> list[str]:
    left, right, bottom = _x(panel, 10), _x(panel, 1_000), _TOP + _HEIGHT
    parts = [f'<text x="{left}" y="{_TOP - 22}" font-size="15" font-weight="bold">{escape(title)}</text>']
    parts.append(f'<text x="{left}" y="{_TOP - 6}" fill="#555">KMS calls a second</text>')
    for exponent in _exponents(panel):
        y, label = _y(panel, 10.0**exponent), f"{10.0**exponent:,.{max(0, -exponent)}f}"
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for workers in (10, 30, 100, 300, 1_000):
        x = _x(panel, workers)
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#eee"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{workers:,}</text>')
    parts.append(f'<text x="{(left + right) / 2}" y="{bottom + 38}" text-anchor="middle">workers</text>')
    for (name, line), colour in zip(lines.items(), _COLOURS, strict=True):
        stroke = f'stroke="{colour}" stroke-width="2"'
        parts.append(f'<polyline points="{_drawn(panel, line)}" fill="none" {stroke}{_dash(name)}/>')
        for workers, value in points.get(name, ()):
            x, y = _x(panel, workers), _y(panel, value)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="white" {stroke}/>')
    return parts


def _quota(quota: float, label: str) -> list[str]:
    y, left, right = _y(0, quota), _x(0, 10), _x(0, 1_000)
    return [
        f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#333" stroke-dasharray="6 4"/>',
        f'<text x="{left + 6}" y="{y - 5:.1f}" fill="#333">{escape(label)}</text>',
    ]


def _dollars() -> list[str]:
    x = _x(1, 1_000) + 10
    parts = [f'<text x="{x}" y="{_TOP - 6}" fill="#555">$ a month</text>']
    for exponent in range(-1, 6):
        calls = 10.0**exponent / dollars(MONTH)
        if _RANGES[1][0] <= calls <= _RANGES[1][1]:
            label = f"{10.0**exponent:,.{max(0, -exponent)}f}"
            parts.append(f'<text x="{x}" y="{_y(1, calls) + 4:.1f}" fill="#555">{label}</text>')
    return parts


def _legend(y: float) -> list[str]:
    parts, x = [], _LEFT
    for name, colour in zip(FAMILIES, _COLOURS, strict=True):
        parts.append(
            f'<line x1="{x}" y1="{y}" x2="{x + 24}" y2="{y}" stroke="{colour}" stroke-width="2"{_dash(name)}/>'
        )
        parts.append(f'<text x="{x + 30}" y="{y + 4}">{escape(name)}</text>')
        x += 60 + 7 * len(name)
    parts.append(f'<circle cx="{_LEFT + 12}" cy="{y + 22}" r="4.5" fill="white" stroke="#333" stroke-width="2"/>')
    parts.append(f'<text x="{_LEFT + 30}" y="{y + 26}">simulated; lines: model</text>')
    return parts


def _dash(name: str) -> str:
    return ' stroke-dasharray="5 3"' if name == ALL_1 else ""  # it hides another line where the rate does not matter


def _x(panel: int, workers: float) -> float:
    return _LEFT + panel * (_WIDTH + _GAP) + _WIDTH * (math.log10(workers) - 1) / 2


def _y(panel: int, value: float) -> float:
    low, high = _RANGES[panel]
    return _TOP + _HEIGHT * (1 - math.log10(value / low) / math.log10(high / low))


def _exponents(panel: int) -> range:
    low, high = _RANGES[panel]
    return range(round(math.log10(low)), round(math.log10(high)) + 1)
