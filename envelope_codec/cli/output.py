"""What the commands print: lines for people, with text from elsewhere made harmless."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

WIDTH = 100
"""Lines are folded here where they can be, or at the terminal's width."""

_NARROWEST = 20


def printable(text: str) -> str:
    """``text`` with whatever a terminal might obey, or that hides or reorders what is shown, spelled out."""
    return "".join(char if char.isprintable() else _spelled(char) for char in text)


def plural(count: int, one: str, many: str = "") -> str:
    """``1 envelope``, ``2 envelopes``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def json_text(document: object) -> str:
    """``document`` as JSON in printable ASCII."""
    return json.dumps(document, indent=2)  # whatever is not printable ASCII is escaped


class Page:
    """Standard output: styled on a terminal, plain text elsewhere. What it is given may come from anywhere."""

    def __init__(self) -> None:
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:  # a terminal or file that knows fewer characters gets their numbers
            reconfigure(errors="backslashreplace")
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._started = False
        self._width = min(self._console.width, WIDTH) if self._console.is_terminal else WIDTH

    def heading(self, text: str) -> None:
        """The title of what follows, after a blank line."""
        if self._started:
            self.line()
        self.line(text, style="bold")

    def line(self, text: str = "", *, indent: int = 0, style: str = "") -> None:
        """One line, however long it is: what has no blanks in it can be copied whole."""
        self._print(" " * indent + printable(text), style)

    def fact(self, label: str, text: str, *, indent: int = 2, column: int = 20, style: str = "") -> None:
        """``text`` beside a label, folded at blanks."""
        room = max(_NARROWEST, self._width - indent - column)
        lines = _folded(printable(text), room) or [""]
        for number, part in enumerate(lines):
            self._print(f"{'':{indent}}{'' if number else printable(label) + ' ':{column}}{part}", style)

    def facts(self, facts: Iterable[tuple[str, str]], *, indent: int = 2, column: int = 20) -> None:
        """Several of them."""
        for label, text in facts:
            self.fact(label, text, indent=indent, column=column)

    def _print(self, text: str, style: str) -> None:
        self._started = True
        self._console.print(Text(text.rstrip(), style), soft_wrap=True)


def _spelled(char: str) -> str:
    number = ord(char)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _folded(line: str, room: int) -> list[str]:
    if len(line) <= room:
        return [line]
    return textwrap.wrap(line, room, break_on_hyphens=False, break_long_words=False)
