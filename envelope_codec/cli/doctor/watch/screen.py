"""The screen: a terminal on which each view takes the place of the one before, or lines for a file or a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from envelope_codec.cli.doctor.watch.board import lines_of
from envelope_codec.cli.doctor.watch.document import view_document
from envelope_codec.cli.doctor.watch.view import View
from envelope_codec.cli.output import WIDTH, make_console

_WIDEST = 160
_REFRESHES = 2.0  # a second: a terminal that was resized is drawn anew so soon


class Screen(Protocol):
    """Shows views."""

    def show(self, view: View) -> None:
        """Show ``view`` in place of the one before, or after it."""
        ...


class Board:
    """A view that is laid out anew whenever it is drawn, for the size that the terminal has then."""

    def __init__(self, view: View | None = None) -> None:
        self.view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.view is not None:
            for line in lines_of(self.view, min(options.max_width, _WIDEST)):
                yield Text(line.text, line.style, no_wrap=True, overflow="crop")


class _Live:
    def __init__(self, live: Live) -> None:
        self._live = live
        self.last: View | None = None

    def show(self, view: View) -> None:
        self.last = view
        self._live.update(Board(view), refresh=True)


class _Blocks:
    """Views one after another, with a blank line between them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = False

    def show(self, view: View) -> None:
        if self._started:
            self._console.print()
        self._started = True
        width = min(self._console.width, _WIDEST) if self._console.file.isatty() else WIDTH
        for line in lines_of(view, width):
            self._console.print(Text(line.text, line.style), soft_wrap=True)
        self._console.file.flush()


class _Documents:
    """One JSON document a line."""

    def show(self, view: View) -> None:
        print(json.dumps(view_document(view)), flush=True)


@contextmanager
def open_screen(*, as_json: bool) -> Iterator[Screen]:
    """Yield what fits standard output. What a terminal showed last stays there at the end."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:  # a terminal or file that lacks a character gets its number
        reconfigure(errors="backslashreplace")
    if as_json:
        yield _Documents()
        return
    console = make_console(sys.stdout)
    blocks = _Blocks(console)
    if not console.is_terminal:
        yield blocks
        return
    with Live(Board(), console=console, screen=True, refresh_per_second=_REFRESHES) as live:
        screen = _Live(live)
        try:
            yield screen
        finally:
            live.stop()
            if screen.last is not None:
                blocks.show(screen.last)
