"""Tables and figures in Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

NONE = "–"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> str:
    """Return a table. All columns but the first are numbers, and stand on the right, unless ``numbers`` is false."""
    lines = [head, ["---", *["---:" if numbers else "---"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def prose(text: str) -> str:
    """Return a paragraph in lines of the pages' length."""
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


def figure(value: float) -> str:
    """Return ``value`` with two or three significant digits, and with separators if it is large."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    for limit, digits in ((10, 1), (0.1, 2), (0.01, 3)):
        if size >= limit:
            return f"{value:.{digits}f}"
    return f"{value:.2g}"


def time_of(microseconds: float) -> str:
    """Return a time in the unit that fits."""
    if microseconds >= 1_000_000:
        return f"{figure(microseconds / 1_000_000)} s"
    if microseconds >= 1_000:
        return f"{figure(microseconds / 1_000)} ms"
    return f"{figure(microseconds)} µs"


def ranged(row: Mapping[str, Any], name: str, *, times: bool = False) -> str:
    """Return the median of a field with its quartiles, as `Spread.fields` has them; with ``times``, as a multiple."""
    low, middle, high = (figure(row[key]) for key in (f"{name}_low", name, f"{name}_high"))
    return f"{'×' if times else ''}{middle} ({low}–{high})"


def cell(value: Any) -> str:
    """Return any value of a row of JSON; ``{"median", "low", "high"}`` is a figure with its spread."""
    if isinstance(value, Mapping):
        if {"median", "low", "high"} <= value.keys():
            return f"{figure(value['median'])} ({figure(value['low'])}–{figure(value['high'])})"
        return ", ".join(f"{name} {cell(part)}" for name, part in value.items())
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: NONE}[value]
    if isinstance(value, float):
        return figure(value)
    if isinstance(value, int):
        return f"{value:,}"
    return str(value).replace("|", "\\|")


def generic(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of JSON as a table: a column for each field that any of them has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return table([name.replace("_", " ") for name in names], [[cell(row.get(name)) for name in names] for row in rows])
