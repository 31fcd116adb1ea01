"""A table in which every line has room on the screen, whatever is in its cells."""

from __future__ import annotations

from collections.abc import Sequence

from envelope_codec.cli.output import printable

_LEAST = 6
_NARROW = 80


def clip(text: str, width: int) -> str:
    """Shorten ``text`` in its middle to ``width`` characters: ids differ at their ends."""
    if len(text) <= width:
        return text
    if width < 4:
        return text[: max(width, 0)]
    head = (width - 1) // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def rows_of(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, indent: int = 2) -> list[str]:
    """Return the head and the rows as lines of ``width`` characters at most. The widest columns give way first."""
    cells = [[printable(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    gap = 2 if width > _NARROW else 1
    room = max(width - indent - gap * (len(columns) - 1), len(columns))
    while sum(widths) > room and max(widths) > _LEAST:
        widest = widths.index(max(widths))
        widths[widest] = max(_LEAST, widths[widest] - (sum(widths) - room), _second(widths))
    lines = []
    for row in cells:
        texts = [clip(cell, size).ljust(size) for cell, size in zip(row, widths, strict=True)]
        lines.append((" " * indent + (" " * gap).join(texts)).rstrip()[:width])
    return lines


def _second(widths: Sequence[int]) -> int:
    """How far the widest may shrink before another one has its turn."""
    ordered = sorted(widths)
    second = ordered[-2] if len(ordered) > 1 else 0
    return second if second < ordered[-1] else ordered[-1] - 1
