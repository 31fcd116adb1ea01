"""What a soak found: a figure for each thing that it watches, and every violation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Report:
    """Figures by section, and violations in words.

    Attributes:
        command: that repeats the run.
        figures: by section, then by name.
        violations: each in a line; none if the invariant held.
    """

    command: str
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def add(self, section: str, **figures: Any) -> None:
        self.figures.setdefault(section, {}).update(figures)

    def count(self, section: str, figures: Mapping[str, Any]) -> None:
        """As `add`, for names that are no identifiers."""
        self.figures.setdefault(section, {}).update(sorted(figures.items()))

    def hold(self, right: bool, otherwise: str) -> None:
        """Note a violation unless ``right``."""
        if not right:
            self.violations.append(otherwise)

    def hold_none(self, what: str, found: Iterable[Any], most: int = 5) -> None:
        """Note a violation if anything was found. It shows the first of them."""
        listed = [str(one) for one in found]
        if listed:
            more = f", and {len(listed) - most} more" if len(listed) > most else ""
            self.violations.append(f"{what}: {'; '.join(listed[:most])}{more}")

    def text(self) -> str:
        """For people."""
        lines = []
        for section, figures in self.figures.items():
            lines.append(f"{section}:")
            lines += [f"  {name.replace('_', ' '):<42} {_shown(value)}" for name, value in figures.items()]
        lines += ["", *(f"VIOLATION: {one}" for one in self.violations)]
        lines.append("The invariant held." if not self.violations else f"{len(self.violations)} violations.")
        return "\n".join([*lines, f"Again: {self.command}"])

    def save(self, path: Path) -> None:
        """Write all of it as JSON."""
        whole = {"command": self.command, "figures": self.figures, "violations": self.violations}
        path.write_text(json.dumps(whole, indent=2) + "\n")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
