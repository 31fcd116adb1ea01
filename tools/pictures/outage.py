"""The dashboard under a real outage, drawn from what Prometheus answered to its queries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from tools.pictures.plot import PLOT_WIDTH, STYLE, Band, Plot, Series, bars

_MARGIN, _GAP = 12.0, 16.0
_LONGEST_NAME = 52
_STEP = 5.0  # seconds from one value to the next


@dataclass(frozen=True)
class Outage:
    """What ``python -m tools.monitoring.outage`` recorded.

    Args:
        name: of the picture's file, without the ending.
        document: the recording.
    """

    name: str
    document: Mapping[str, Any]

    @property
    def bands(self) -> list[Band]:
        """When the KMS gave no answer, or refused."""
        return [
            Band(part["begin"], part["begin"] + part["seconds"]) for part in self.document["story"] if part["title"]
        ]

    def svg(self) -> str:
        """The picture as text."""
        width = 2 * PLOT_WIDTH + _GAP + 2 * _MARGIN
        parts, top = self._head()
        plots = list(self._plots())
        for first, second in zip(plots[::2], [*plots[1::2], None], strict=False):
            row = [plot for plot in (first, second) if plot is not None]
            for number, plot in enumerate(row):
                left = _MARGIN + number * (PLOT_WIDTH + _GAP)
                parts += plot.svg(left, top, self.document["seconds"], _STEP, self.bands)
            top += max(plot.height for plot in row) + 8
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {top:g}" width="{width:g}" '
                f'height="{top:g}" role="img">',
                "<title>The panels of the dashboard under a real outage of a KMS</title>",
                "<!-- Written by tools/pictures/draw.py; do not edit. -->",
                f"<style>{STYLE}</style>",
                f'<rect class="page" width="{width:g}" height="{top:g}"/>',
                *parts,
                "</svg>",
                "",
            ]
        )

    def _head(self) -> tuple[list[str], float]:
        lease, grace = self.document["lease"], self.document["grace"]
        marked = "; ".join(
            f"{part['title']} from minute {part['begin'] / 60:.1f} to {(part['begin'] + part['seconds']) / 60:.1f}"
            for part in self.document["story"]
            if part["title"]
        )
        lines = [
            f"lease = {lease} s, outage_grace = {grace / 60:g} min, and rules with a tenth of the usual times",
            f"marked: {marked}",
        ]
        parts = [f'<text class="heading" x="{_MARGIN:g}" y="26">Alerts that fire</text>']
        parts += [
            f'<text class="axis" x="{_MARGIN:g}" y="{42 + 14 * number}">{escape(line)}</text>'
            for number, line in enumerate(lines)
        ]
        drawn, height = bars(_MARGIN, 66, self.document["seconds"], list(self._alerts()), self.bands)
        return parts + drawn, 66 + height + 18

    def _alerts(self) -> Iterator[tuple[str, Sequence[Band]]]:
        times: dict[str, set[float]] = {}
        for alert in self.document["alerts"]:
            times.setdefault(alert["labels"]["alertname"], set()).update(at for at, _ in alert["values"])
        for name, found in sorted(times.items(), key=lambda item: min(item[1])):
            spans: list[Band] = []
            for at in sorted(found):
                if spans and at - spans[-1].end <= _STEP:
                    spans[-1] = Band(spans[-1].begin, at)
                else:
                    spans.append(Band(at, at))
            yield name, spans

    def _plots(self) -> Iterator[Plot]:
        """Yield a plot for each panel over time that has values other than 0."""
        for panel in self.document["panels"]:
            series = [Series(_name(one), one["values"]) for one in panel["series"]]
            series = [one for one in series if any(value == value for _, value in one.points)]
            series = [Series(one.name, [point for point in one.points if point[1] == point[1]]) for one in series]
            if panel["kind"] == "timeseries" and any(value for one in series for _, value in one.points):
                series.sort(key=lambda one: -max(value for _, value in one.points))
                yield Plot(panel["title"], series, _SPELLED.get(panel["unit"], _number))


def _name(series: Mapping[str, Any]) -> str:
    labels = series["labels"]
    name = re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), series["legend"])
    name = " ".join(name.split()) or "all"
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _span(value: float) -> str:
    if value >= 120:
        return f"{value / 60:.3g} min"
    return f"{value:.3g} s" if value >= 1 or not value else f"{value * 1000:.3g} ms"


def _bytes(value: float) -> str:
    return f"{value / 1000:.3g} kB/s" if value >= 1000 else f"{value:.3g} B/s"


_SPELLED = {"s": _span, "cps": lambda value: f"{value:.2g}/s", "reqps": lambda value: f"{value:.2g}/s", "Bps": _bytes}


def outages(folder: Path) -> list[Outage]:
    """Draw the dashboard: ``python -m tools.monitoring.outage`` has left its recording in ``folder``."""
    document = json.loads((folder / "dashboard-outage.json").read_text("utf-8"))
    return [Outage("dashboard-outage", document)]
