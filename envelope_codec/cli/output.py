"""What the commands print: lines for people, in which text from elsewhere is made harmless."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Literal, NoReturn, TextIO

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

WIDTH = 100
"""Lines are folded here where they can be, or at the terminal's width if that is less."""

_NARROWEST = 20
_NARROW = 80
"""On a screen of at most as many columns, tables have them close together."""

_SHORT = 10
"""Words of at most as many letters, such as dates, are not folded in tables."""


def printable(text: str) -> str:
    """Spell out what a terminal might obey, and what hides or reorders other text."""
    return "".join(char if char.isprintable() else _spell(char) for char in text)


def plural(count: int, one: str, many: str = "") -> str:
    """Give the count with its noun: ``1 envelope``, ``2 envelopes``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def json_text(document: object) -> str:
    """Write ``document`` as JSON in printable ASCII."""
    return json.dumps(document, indent=2)  # json escapes whatever is not printable ASCII


def complain(message: str) -> None:
    """Print ``message`` as one line on standard error."""
    print(f"envelope-codec: {printable(message)}", file=sys.stderr)


def leave(message: str, status: int) -> NoReturn:
    """Complain, and end the command with ``status``."""
    complain(message)
    raise typer.Exit(status)


def fold(line: str, width: int, *, breaking_words: bool = False) -> list[str]:
    """Cut ``line`` at blanks into pieces of at most ``width`` characters. A short line keeps its own blanks.

    A word that is longer stays whole, so that it can be copied, unless ``breaking_words``.
    """
    if len(line) <= width:
        return [line]
    return textwrap.wrap(line, width, break_on_hyphens=False, break_long_words=breaking_words)


def make_console(stream: TextIO) -> Console:
    """Make a console on ``stream``: styled on a terminal, plain text elsewhere.

    With ``NO_COLOR`` (https://no-color.org) it is plain text on a terminal too, without a progress bar or a spinner.
    Rich by itself would leave the colours out, and go on with bold type and moves of the cursor.
    """
    plain = bool(os.environ.get("NO_COLOR"))
    return Console(
        file=stream,
        highlight=False,
        markup=False,
        emoji=False,
        color_system=None if plain else "auto",
        force_terminal=False if plain else None,
    )


def width_of(console: Console) -> int:
    """Return how wide lines on ``console`` may be: `WIDTH`, or less on a narrow terminal."""
    return min(console.width, WIDTH) if console.file.isatty() else WIDTH


class Page:
    """Standard output. What is printed may come from anywhere, and is made harmless."""

    def __init__(self) -> None:
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:  # a terminal or file that lacks a character gets its number
            reconfigure(errors="backslashreplace")
        self._console = make_console(sys.stdout)
        self._started = False
        self._width = self._console.width = width_of(self._console)

    def heading(self, text: str) -> None:
        """Print a title for what follows, after a blank line."""
        if self._started:
            self.line()
        self.line(text, style="bold")

    def line(self, text: str = "", *, indent: int = 0, style: str = "") -> None:
        """Print one line, however long it is: so text without blanks can be copied whole."""
        self._print(" " * indent + printable(text), style)

    def fact(self, label: str, text: str, *, indent: int = 2, column: int = 20, style: str = "") -> None:
        """Print ``text`` beside a label, folded at blanks."""
        lines = fold(printable(text), max(_NARROWEST, self._width - indent - column)) or [""]
        for number, part in enumerate(lines):
            name = printable(label) + " " if label and not number else ""
            self._print(f"{'':{indent}}{name:{column}}{part}", style)

    def facts(self, facts: Iterable[tuple[str, str]], *, indent: int = 2, column: int = 20) -> None:
        """Print several labels and texts."""
        for label, text in facts:
            self.fact(label, text, indent=indent, column=column)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, indent: int = 2) -> None:
        """Print a table. Columns with numbers alone go to the right; long text is folded, and short words are not.

        Where it has no room, each row is a list of facts.
        """
        listed = [[printable(cell) for cell in row] for row in rows]
        gap = 2 if self._width > _NARROW else 1
        least = [
            min(_SHORT, max(map(len, (*name.split(), *(row[index] for row in listed)))))
            for index, name in enumerate(columns)
        ]
        if indent + sum(least) + gap * len(columns) > self._width:  # it would be cut off
            self._print_list(columns, listed, indent)
            return
        table = Table(box=None, padding=(0, gap, 0, 0), show_edge=False, pad_edge=False, header_style="bold")
        for index, name in enumerate(columns):
            is_number = all(row[index].replace(",", "").isdigit() for row in listed)
            side: Literal["left", "right"] = "right" if is_number else "left"
            table.add_column(name, justify=side, overflow="fold", min_width=least[index])
        for row in listed:
            table.add_row(*map(Text, row))
        self._started = True
        self._console.print(Padding(table, (0, 0, 0, indent)))

    def _print_list(self, columns: Sequence[str], rows: Sequence[Sequence[str]], indent: int) -> None:
        """Print each row of a table as facts, below each other."""
        for number, row in enumerate(rows):
            if number:
                self.line()
            self.facts(zip(columns, row, strict=True), indent=indent)

    def _print(self, text: str, style: str) -> None:
        self._started = True
        self._console.print(Text(text.rstrip(), style), soft_wrap=True)


def _spell(char: str) -> str:
    number = ord(char)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
