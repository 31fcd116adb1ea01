"""What a soak was asked for, and what follows from that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.soak.fault import Fault, schedule

_SHORT = 150.0
"""Seconds up to which a soak counts as short: all times in it are shorter, so that much happens."""

_RATE = 6.0  # workflows a second


class Options(NamedTuple):
    """What was asked for.

    Attributes:
        minutes: that workflows are started in.
        seed: of the faults and of the choice of workflows.
        workflows: how many to start; None for a number that fits the time.
        report: file for the report as JSON.
        series: folder for the metrics.
        sabotage: what a process is to do wrong, to see that it is noticed; or nothing.
        cold: how many histories are read cold at most.
    """

    minutes: float
    seed: int
    workflows: int | None
    report: Path | None
    series: Path | None
    sabotage: str
    cold: int

    @property
    def seconds(self) -> float:
        return self.minutes * 60

    @property
    def short(self) -> bool:
        return self.seconds <= _SHORT

    @property
    def command(self) -> str:
        workflows = "" if self.workflows is None else f" --workflows {self.workflows}"
        sabotage = f" --sabotage {self.sabotage}" if self.sabotage else ""
        return f'make soak ARGS="--minutes {self.minutes:g} --seed {self.seed}{workflows}{sabotage}"'

    @property
    def number(self) -> int:
        """Of workflows."""
        return self.workflows if self.workflows is not None else int(self.load * _RATE)

    @property
    def faults(self) -> list[Fault]:
        return schedule(self.seed, self.load - 3.0, max(2.0, min(15.0, self.seconds / 100)))

    @property
    def tempo(self) -> Mapping[str, Any]:
        """Settings of the plugin: leases so short that there are many."""
        if self.short:
            times = {"lease": "4s", "max_age": "10s", "max_payloads": 300, "outage_grace": "60s", "refusal_ttl": "1s"}
        else:
            times = {"lease": "15s", "max_age": "60s", "max_payloads": 2_000, "outage_grace": "2m", "refusal_ttl": "2s"}
        return {**times, "startup_jitter": 0.2, "activity_timeout": "2m"}

    @property
    def load(self) -> float:
        """Seconds in which workflows are started: of a short soak less, so that all of it is over in a minute."""
        return self.seconds * 0.75 if self.short else self.seconds
