"""How far a command has come, on standard error."""

from __future__ import annotations

import sys
from typing import Protocol

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text
from typing_extensions import Self

from envelope_codec.cli.output import make_console


class Watcher(Protocol):
    """Is told how far a search has come."""

    def expect(self, doing: str, total: int | None) -> None:
        """Begin the next step, which has ``total`` things to do. ``total`` is None where nobody knows."""
        ...

    def advance(self) -> None:
        """Count one of these things as done."""
        ...


class _RateColumn(ProgressColumn):
    """How many things are done in a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


class Progress:
    """A `Watcher` that shows a bar on standard error, with its rate and the time left, if that is a terminal."""

    def __init__(self) -> None:
        columns = (
            *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _RateColumn()),
            *(TimeElapsedColumn(), TimeRemainingColumn()),
        )
        console = make_console(sys.stderr)
        self._bar = Bar(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def expect(self, doing: str, total: int | None) -> None:
        """Begin a new bar for the next step, as `Watcher.expect` says."""
        self._bar.remove_task(self._task)
        self._bar.start()
        self._task = self._bar.add_task(doing.replace("[", "\\["), total=total)

    def pause(self) -> None:
        """Take the bar off the screen until the next step begins, so that lines can be printed."""
        self._bar.stop()

    def advance(self) -> None:
        """Move the bar on by one."""
        self._bar.advance(self._task)

    def reach(self, done: int, total: int | None) -> None:
        """Move the bar to ``done``, where others do the work."""
        self._bar.update(self._task, completed=done, total=total)
