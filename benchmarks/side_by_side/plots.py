"""The page's plots, as SVG: legible on light and dark pages, 400 pixels wide, in colours that differ for all eyes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot

from benchmarks.side_by_side.latency import LATENCIES

# Okabe and Ito's colours: https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, BLACK = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7"),
    *("#56b4e9", "#d55e00", "#222222"),
)
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "benchmarks",
    "font.family": "sans-serif",
    "font.size": 11,
    "figure.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
}
_WIDTH = 5.2  # inches, so that letters are still 11 pixels high where the picture is 400 wide
_MARKERS = "osD^vPX*h<"
Results = Mapping[str, Mapping[str, Any]]


def draw(results: Results, folder: Path) -> list[Path]:
    """Write each plot that there are figures for."""
    plots: dict[str, tuple[str, Callable[[Mapping[str, Any]], Any]]] = {
        "benchmarks-time.svg": ("peers-time", _time),
        "benchmarks-latency.svg": ("peers-latency", _latency),
        "benchmarks-worker.svg": ("worker", _worker),
    }
    written = []
    with pyplot.rc_context(_STYLE):
        for name, (section, plot) in plots.items():
            if section in results:
                figure = plot(results[section])
                figure.savefig(folder / name, metadata={"Date": None})
                pyplot.close(figure)
                written.append(folder / name)
    return written


def _time(result: Mapping[str, Any]) -> Any:
    rows = [row for row in result["rows"] if row["size"] == "1 KiB"]
    names = list(dict.fromkeys(row["entrant"] for row in rows))[::-1]
    figure, axes = pyplot.subplots(figsize=(_WIDTH, 0.55 * len(names) + 1.0), layout="constrained")
    for operation, colour, hatch, shift in (("encode", BLUE, "", 0.2), ("decode", ORANGE, "//", -0.2)):
        found = {row["entrant"]: row["microseconds"] for row in rows if row["operation"] == operation}
        places = [place + shift for place in range(len(names))]
        values = [found[name] for name in names]
        axes.barh(places, values, 0.38, label=operation, color=colour, hatch=hatch, edgecolor="white")
        for place, value in zip(places, values, strict=True):
            axes.text(value * 1.08, place, f"{value:,.0f}", va="center", fontsize=8, color=BLACK)
    axes.set_yticks(range(len(names)), [_wrapped(name) for name in names])
    axes.set_xscale("log")
    axes.set_xlim(1, max(row["microseconds"] for row in rows) * 5)
    axes.set_xlabel("µs of processor time, 1 KiB")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def _latency(result: Mapping[str, Any]) -> Any:
    rows = result["rows"]
    names = list(dict.fromkeys(row["entrant"] for row in rows))
    figure, axes = pyplot.subplots(figsize=(_WIDTH, 5.6), layout="constrained")
    colours = (BLACK, BLUE, SKY, GREEN, VERMILION, ORANGE, PURPLE, "#8a5a00", "#777777", "#444488")
    for number, name in enumerate(names):
        found = {row["latency_ms"]: row["encode"] for row in rows if row["entrant"] == name}
        style = "-" if name.startswith("this library") else "--"
        marker, colour = _MARKERS[number % len(_MARKERS)], colours[number % len(colours)]
        axes.plot(LATENCIES, [found[x] for x in LATENCIES], style, marker=marker, color=colour, label=name)
    axes.set_yscale("log")
    axes.set_xticks(LATENCIES)
    axes.set_xlabel("ms that a KMS call takes")
    axes.set_ylabel("ms to encode 1 KiB, keys at hand")
    axes.yaxis.set_major_formatter("{x:g}")
    figure.legend(loc="outside lower left", ncols=1, frameon=False, fontsize=10)
    return figure


def _worker(result: Mapping[str, Any]) -> Any:
    rows = [row for row in result["rows"] if row["variant"] != "plain"]
    names = list(dict.fromkeys(row["variant"] for row in rows))
    sizes = sorted({row["size"] for row in rows})
    figure, axes = pyplot.subplots(figsize=(_WIDTH, 4.2), layout="constrained")
    width = 0.8 / max(1, len(names))
    for number, name in enumerate(names):
        found = {row["size"]: row["cpu"]["median"] for row in rows if row["variant"] == name}
        places = [place + (number - (len(names) - 1) / 2) * width for place in range(len(sizes))]
        colour = (ORANGE, SKY, BLUE, GREEN, PURPLE, VERMILION)[number % 6]
        hatch = ("", "//", "..", "xx", "--", "oo")[number % 6]
        values = [found.get(size, 0.0) for size in sizes]
        axes.bar(places, values, width * 0.92, label=name, color=colour, hatch=hatch, edgecolor="white")
    axes.axhline(1.0, color=BLACK, linewidth=1)
    axes.set_xticks(
        range(len(sizes)), [f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB" for size in sizes]
    )
    axes.set_ylim(bottom=0.5)
    axes.set_ylabel("CPU a workflow, of the SDK's default")
    axes.grid(visible=False, axis="x")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _wrapped(name: str) -> str:
    return name.replace(", ", ",\n", 1)
