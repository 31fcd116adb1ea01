"""How far a command has come, on standard error."""

from __future__ import annotations

import sys

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from typing_extensions import Self

from envelope_codec.cli.output import make_console


class Progress:
    """A `Watcher` that shows a bar on standard error, if that is a terminal."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        console = make_console(sys.stderr)
        self._bar = Bar(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def expect(self, doing: str, total: int | None) -> None:
        """Begin a new bar for the next step. ``total`` is None where nobody knows how much there is to do."""
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task(doing.replace("[", "\\["), total=total)

    def advance(self) -> None:
        """Count one of the things to do."""
        self._bar.advance(self._task)
