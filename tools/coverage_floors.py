"""Hold coverage to its floors: ``python -m tools.coverage_floors REPORT [--unit]``.

REPORT is what ``coverage json`` writes. Prints the figures of each room, and the status is 1 if one is below its floor.
With ``--unit`` the floors are those of the unit tests alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Floors(NamedTuple):
    """What coverage must reach.

    Attributes:
        total: percent of all statements and branches.
        rooms: percent of the branches of single rooms.
    """

    total: float
    rooms: Mapping[str, float]


# The total is a first floor, from what unit tests alone reach. Raise it to the figure of all suites, less one point.
ALONE = "envelope_codec/envelope.py"
"""The wire format, which counts as a room of its own."""

ROOMS = {ALONE: 95.0, "envelope_codec/keys": 95.0, "envelope_codec/temporal": 95.0}
ALL_SUITES = Floors(84.0, ROOMS)
UNIT_TESTS = Floors(0.0, {**ROOMS, "envelope_codec/keys": 94.5})
"""Of these rooms' own unit tests without the slow ones. Raise them when the figures rise."""


class Counts(NamedTuple):
    """How many statements and branches there are, and how many of them tests ran."""

    statements: int = 0
    run: int = 0
    branches: int = 0
    taken: int = 0

    def __add__(self, other: object) -> Counts:
        assert isinstance(other, Counts)
        return Counts(*(one + another for one, another in zip(self, other, strict=True)))

    @property
    def all(self) -> float:
        """Percent of statements and branches together, which is what ``coverage report`` shows."""
        return _percent(self.run + self.taken, self.statements + self.branches)

    @property
    def of_branches(self) -> float:
        """Percent of branches."""
        return _percent(self.taken, self.branches)


def by_room(report: Mapping[str, Any]) -> dict[str, Counts]:
    """Add up the files of each folder: ``envelope_codec/keys``, ``envelope_codec_aws``, and the top as a room."""
    rooms: defaultdict[str, Counts] = defaultdict(Counts)
    for name, file in report["files"].items():
        summary = file["summary"]
        rooms[room(name)] += Counts(
            summary["num_statements"],
            summary["covered_lines"],
            summary["num_branches"],
            summary["covered_branches"],
        )
    return dict(rooms)


def room(name: str) -> str:
    """Return the room of a file: the folder below the package, or the package for a file at its top.

    The wire format's own file is a room.
    """
    if name.endswith(ALONE):
        return ALONE
    parts = Path(name).parts
    package = next(at for at, part in enumerate(parts) if part.startswith("envelope_codec"))
    below = parts[package:-1]
    return "/".join(below[:2])


def failures(rooms: Mapping[str, Counts], floors: Floors) -> list[str]:
    """Return a line for each figure that is below its floor. A room that holds nothing is below it too."""
    found = []
    everything = sum(rooms.values(), Counts())
    if everything.all < floors.total:
        percent = f"{everything.all:.2f} % of statements and branches"
        found.append(f"all together: {percent}, and {floors.total:g} % is the floor")
    for name, floor in floors.rooms.items():
        branches = rooms.get(name, Counts()).of_branches
        if branches < floor:
            found.append(f"{name}: {branches:.2f} % of its branches, and {floor:g} % is the floor")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures, then what is below its floor. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.coverage_floors", description="Hold coverage to its floors.")
    parser.add_argument("report", type=Path, help="what coverage json has written")
    parser.add_argument("--unit", action="store_true", help="check the floors of the unit tests alone")
    chosen = parser.parse_args(arguments)
    rooms = by_room(json.loads(chosen.report.read_text("utf-8")))
    print(f"{'room':<32} {'all':>7} {'branches':>9}")
    for name, counts in sorted(rooms.items()):
        print(f"{name:<32} {counts.all:>6.2f}% {counts.of_branches:>8.2f}%")
    everything = sum(rooms.values(), Counts())
    print(f"{'all together':<32} {everything.all:>6.2f}% {everything.of_branches:>8.2f}%")
    below = failures(rooms, UNIT_TESTS if chosen.unit else ALL_SUITES)
    for line in below:
        print(f"below its floor: {line}", file=sys.stderr)
    return 1 if below else 0


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0


if __name__ == "__main__":
    sys.exit(main())
