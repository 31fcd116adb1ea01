"""One figure of the hostile benchmark, and its bar."""

from __future__ import annotations

from typing import NamedTuple


class Figure(NamedTuple):
    """What was measured.

    Attributes:
        name: what it is.
        value: how much.
        unit: of ``value`` and ``bar``.
        bar: what it must not be over; None where there is none.
        note: what else there is to say.
    """

    name: str
    value: float
    unit: str = ""
    bar: float | None = None
    note: str = ""

    @property
    def missed(self) -> bool:
        """Whether it is over its bar."""
        return self.bar is not None and self.value > self.bar

    @property
    def line(self) -> str:
        """The figure as it is printed."""
        bar = "" if self.bar is None else f"  (bar {self.bar:g}{self.unit}{', MISSED' if self.missed else ''})"
        note = f"  {self.note}" if self.note else ""
        return f"{self.name:58} {self.value:8.2f}{self.unit}{bar}{note}"
