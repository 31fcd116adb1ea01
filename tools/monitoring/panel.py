"""A panel of the dashboard: what it asks Prometheus, and how it is shown."""

from __future__ import annotations

from typing import NamedTuple

# Which series a panel takes, by the variables of the dashboard.
WHERE = 'job=~"$job", instance=~"$instance"'
SPACE = f'{WHERE}, namespace=~"$namespace"'
FAILED = f'{SPACE}, error_type!=""'
ROUTE = f'{WHERE}, http_route=~".*(encode|decode|download)"'

_RATE = "[$__rate_interval]"


class Query(NamedTuple):
    """A query, and what a legend calls each of its series."""

    expression: str
    legend: str


class Panel(NamedTuple):
    """A panel.

    Attributes:
        title: for people.
        about: what it shows, and what to look for.
        unit: as Grafana names it.
        queries: what it shows.
        kind: ``timeseries``, or ``stat`` for the last value alone.
        red_from: values from here on are red; None for none.
    """

    title: str
    about: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    red_from: float | None = None


class Row(NamedTuple):
    """A heading, and the panels below it."""

    title: str
    panels: tuple[Panel, ...]


def one(expression: str, legend: str) -> tuple[Query, ...]:
    """Return a single query."""
    return (Query(expression, legend),)


def rate_of(metric: str, where: str, *by: str) -> str:
    """Return the expression of a counter's rate, summed by labels."""
    total = f"sum by ({', '.join(by)})" if by else "sum"
    return f"{total} (rate({metric}{{{where}}}{_RATE}))"


def latencies(metric: str, where: str, *by: str) -> tuple[Query, ...]:
    """Return the median and the 99th percentile of a histogram, by labels."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    rate = rate_of(f"{metric}_bucket", where, *by, "le")
    return tuple(
        Query(f"histogram_quantile({share}, {rate})", f"{legend} {name}".strip())
        for share, name in (("0.5", "p50"), ("0.99", "p99"))
    )
