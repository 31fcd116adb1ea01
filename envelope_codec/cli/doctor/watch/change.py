"""What changed between two times that an endpoint told its metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from envelope_codec.cli.doctor.watch.exposition import Exposition

Group = tuple[str, ...]


class Told(NamedTuple):
    """What an endpoint told, and when, in monotonic seconds."""

    at: float
    exposition: Exposition


class Change(NamedTuple):
    """What was told first and last."""

    first: Told
    last: Told

    @property
    def seconds(self) -> float:
        """How much time lies between; 0.0 if there was only one answer."""
        return self.last.at - self.first.at

    def gauges(self, name: str) -> Iterator[tuple[Mapping[str, str], float]]:
        """Yield the labels and last values of a gauge."""
        for labels, value in self.last.exposition.of(name).items():
            yield dict(labels), value

    def increases(self, name: str) -> Iterator[tuple[Mapping[str, str], float]]:
        """Yield by how much each series of a counter rose. One that fell had begun anew with its process.

        A series that was not there before began at 0, as a counter of errors does.
        """
        if self.first is self.last:
            yield from ((dict(labels), 0.0) for labels in self.last.exposition.of(name))
            return
        before = self.first.exposition.of(name)
        for labels, value in self.last.exposition.of(name).items():
            earlier = before.get(labels, 0.0)
            yield dict(labels), value - earlier if value >= earlier else value


def rates(changes: Iterable[Change], name: str, *by: str) -> dict[Group, float]:
    """Return by how much a counter rises in a second, all endpoints together, by the labels that are named."""
    found: dict[Group, float] = defaultdict(float)
    for change in changes:
        for labels, rise in change.increases(name):
            found[tuple(labels.get(label, "") for label in by)] += rise / change.seconds if change.seconds else 0.0
    return dict(found)


def quantiles(changes: Iterable[Change], name: str, share: float, *by: str) -> dict[Group, float]:
    """Return a quantile of a histogram, as Prometheus estimates it, by the labels that are named. Seconds.

    Groups without an observation in that time are left out.
    """
    buckets: dict[Group, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for change in changes:
        for labels, rise in change.increases(f"{name}_bucket"):
            try:
                bound = float(labels.get("le", ""))
            except ValueError:
                continue
            buckets[tuple(labels.get(label, "") for label in by)][bound] += rise
    found = {group: _quantile(counts, share) for group, counts in buckets.items()}
    return {group: seconds for group, seconds in found.items() if seconds is not None}


def _quantile(counts: Mapping[float, float], share: float) -> float | None:
    bounds = sorted(counts)
    total = counts[bounds[-1]]
    if total <= 0:
        return None
    lower = below = 0.0
    for bound in bounds:
        if counts[bound] >= share * total:
            if bound == float("inf"):
                return lower
            inside = counts[bound] - below
            return lower + (bound - lower) * ((share * total - below) / inside if inside > 0 else 1.0)
        lower, below = bound, counts[bound]
    return lower
