"""Three tables: a start of all workers at once, steady state, and a start that is more than the KMS allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks import fleet_model, fleet_simulation
from benchmarks.fleet_prices import AWS_QUOTA, GCP_QUOTA, MONTH, dollars
from benchmarks.fleet_shape import Fleet


class Row(Protocol):
    """One fleet in one table.

    Attributes:
        fleet: see `Fleet`.
        quick: whether it takes well under a second.
        family: the line of the plot on which it is a point, or "".
    """

    fleet: Fleet
    quick: bool
    family: str

    def simulate(self, more: int = 1) -> float:
        """What the simulation says of the one figure that is plotted, with ``more`` times the sample."""
        ...

    def cells(self) -> list[str]:
        """The row; what only the simulation knows is "…" until it has run."""
        ...


@dataclass
class StartupRow:
    """A start of all processes at once, watched for ``seconds``."""

    fleet: Fleet
    sample: int = 0
    seconds: int = 60
    quick: bool = False
    family: str = ""
    measured: fleet_simulation.Startup | None = None

    def simulate(self, more: int = 1) -> float:
        """See `Row.simulate`."""
        self.measured = fleet_simulation.startup(self.fleet, self.seconds, sample=self.sample * more)
        return max(self.measured.seconds)

    def cells(self) -> list[str]:
        """See `Row.cells`."""
        minute = fleet_model.startup(self.fleet, 60)
        model = max(minute)
        simulated = max(self.measured.seconds) if self.measured else None
        return [
            self.fleet.name,
            figure(fleet_model.deploy(self.fleet)) if not self.fleet.direct else "-",
            figure(model),
            *_compared(model, simulated),
            _duration(self.measured.wait) if self.measured else "…",
            _share(model / AWS_QUOTA),
            figure(sum(minute)),
            _share(sum(minute) / GCP_QUOTA),
        ]


STARTUP_HEAD = [
    "fleet",
    "calls of a deploy",
    "busiest second: model",
    "simulated",
    "ratio",
    "99 % waited at most",
    "of AWS's 10,000/s",
    "first minute: model",
    "of GCP's 60,000/min",
]


@dataclass
class SteadyRow:
    """A fleet that has been up for long."""

    fleet: Fleet
    sample: int = 0
    thin: float = 1
    quick: bool = False
    family: str = ""
    measured: float | None = None

    def simulate(self, more: int = 1) -> float:
        """See `Row.simulate`."""
        self.measured = fleet_simulation.steady(self.fleet, sample=self.sample * more, thin=self.thin)
        return self.measured

    def cells(self) -> list[str]:
        """See `Row.cells`."""
        model = fleet_model.steady(self.fleet)
        parts = (model.sealing, model.first, model.replays, model.renewals)
        shares = [f"{part / model.total:.0%}" if part else "-" for part in parts]
        calls = model.total * MONTH
        return [
            self.fleet.name,
            figure(model.total),
            *_compared(model.total, self.measured),
            *(shares if not self.fleet.direct else ["-"] * 4),
            figure(calls / 1e6),
            figure(dollars(calls)),
        ]


STEADY_HEAD = [
    "fleet",
    "calls a second: model",
    "simulated",
    "ratio",
    "sealing",
    "first unwraps",
    "replays",
    "renewals",
    "million calls a month",
    "dollars a month",
]


@dataclass
class ThrottledRow:
    """A start of all processes at once in front of a KMS that answers too few calls a second."""

    fleet: Fleet
    seconds: int = 120
    quick: bool = False
    family: str = ""
    measured: fleet_simulation.Startup | None = None

    def simulate(self, more: int = 1) -> float:
        """See `Row.simulate`."""
        self.measured = fleet_simulation.startup(self.fleet, self.seconds)
        return self.measured.throttled

    def cells(self) -> list[str]:
        """See `Row.cells`."""
        needed = fleet_model.deploy(self.fleet)
        cells = [self.fleet.name, figure(needed), f"{needed / self.fleet.quota:.0f} s"]
        if self.measured is None:
            return cells + ["…"] * 4
        return [
            *cells,
            figure(self.measured.throttled),
            figure(self.measured.renewals),
            _duration(self.measured.wait),
            figure(self.measured.failed),
        ]


THROTTLED_HEAD = [
    "fleet",
    "calls needed",
    "time at best: model",
    "throttled calls",
    "repeated unwraps",
    "99 % waited at most",
    "callers told *unavailable*",
]


def table(head: Sequence[str], rows: Sequence[Row]) -> str:
    """A table in Markdown."""
    return "\n".join([line(head), line(["---"] + ["--:"] * (len(head) - 1)), *(line(row.cells()) for row in rows)])


def line(cells: Sequence[str]) -> str:
    """One line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def figure(number: float) -> str:
    """Three significant digits."""
    if not number:
        return "0"
    digits = 2 - math.floor(math.log10(abs(number)))
    return f"{round(number, digits):,.{min(max(digits, 0), 4)}f}"


def _compared(model: float, simulated: float | None) -> list[str]:
    return ["…", "…"] if simulated is None else [figure(simulated), f"{simulated / model:.2f}"]


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "< 1%"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
