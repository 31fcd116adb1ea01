"""The fleets in the tables. ``sample`` and ``thin`` are such that the whole takes half a minute."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.fleet_shape import Fleet
from benchmarks.fleet_table import StartupRow, SteadyRow, ThrottledRow
from envelope_codec.keys.limits import Limits

HOUR, DAY = 3_600.0, 86_400.0
ALL_10, ALL_1, GROUPS, DIRECT = (
    "all read all, 10/s each",
    "all read all, 1/s each",
    "queues of 20 workers, 10/s each",
    "direct mode, 1/s each",
)
FAMILIES = {  # lines of the plot
    ALL_10: Fleet("", 10, 10),
    ALL_1: Fleet("", 10, 1),
    GROUPS: Fleet("", 10, 10, group=20),
    DIRECT: Fleet("", 10, 1, direct=True),
}


def _all(workers: int, rate: float, note: str = "", **more: object) -> Fleet:
    name = f"{workers:,} workers, {rate:g}/s{', ' + note if note else ''}"
    return replace(Fleet(name, workers, rate), **more)  # type: ignore[arg-type]


def startups() -> list[StartupRow]:
    """Starts of all workers at once."""
    return [
        StartupRow(_all(10, 1), quick=True, family=ALL_1),
        StartupRow(_all(100, 1), seconds=20, quick=True, family=ALL_1),
        StartupRow(_all(1_000, 1), sample=200, seconds=20, family=ALL_1),
        StartupRow(_all(10, 10), quick=True, family=ALL_10),
        StartupRow(_all(100, 10), seconds=10, family=ALL_10),
        StartupRow(_all(300, 10), sample=60, seconds=10, family=ALL_10),
        StartupRow(_all(1_000, 10), sample=60, seconds=6, family=ALL_10),
        StartupRow(_all(1_000, 10, "`startup_jitter` 0", startup_jitter=0.0), sample=60, seconds=6),
        StartupRow(_all(1_000, 10, "`startup_jitter` 1m", startup_jitter=60.0), sample=40, seconds=70),
        StartupRow(_all(100, 10, "task queues of 20", group=20), seconds=10, quick=True, family=GROUPS),
        StartupRow(_all(1_000, 10, "task queues of 20", group=20), sample=200, seconds=20, family=GROUPS),
        StartupRow(_all(1_000, 1, "100 starters", starters=100), sample=50, seconds=8),
        StartupRow(
            _all(100, 10, "10/s more replayed from 30 days", replayed=10.0, history=30.0), sample=50, seconds=10
        ),
        StartupRow(_all(100, 1, "`verify_wraps` off", verify_wraps=False), seconds=20),
        StartupRow(_all(100, 1, "direct", direct=True), seconds=3, quick=True, family=DIRECT),
    ]


def steadies() -> list[SteadyRow]:
    """Fleets that have been up for long."""
    return [
        SteadyRow(_all(10, 0.1)),
        SteadyRow(_all(10, 10), sample=3, thin=100, quick=True, family=ALL_10),
        SteadyRow(_all(100, 10), sample=10, thin=100, family=ALL_10),
        SteadyRow(_all(1_000, 10), sample=4, thin=40, family=ALL_10),
        SteadyRow(_all(1_000, 10, "task queues of 20", group=20), sample=20, thin=200, family=GROUPS),
        SteadyRow(_all(1_000, 1, "100 starters", starters=100), sample=2, thin=40),
        SteadyRow(_all(100, 10, "`lease` 1m", limits=Limits(lease=60.0)), sample=4, thin=40),
        SteadyRow(_all(100, 10, "`lease` 15m", limits=Limits(lease=900.0)), sample=20, thin=200),
        SteadyRow(_all(100, 10, "`max_age` 1h", limits=Limits(max_age=HOUR)), sample=20, thin=20),
        SteadyRow(_all(100, 10, "`cache_ttl` 6h", limits=Limits(cache_ttl=6 * HOUR)), sample=4, thin=25),
        SteadyRow(_all(100, 1, "`max_age` 7d", limits=Limits(max_age=7 * DAY)), sample=2, thin=10),
        SteadyRow(
            _all(100, 1, "`max_age` and `cache_ttl` 7d", limits=Limits(max_age=7 * DAY, cache_ttl=7 * DAY)),
            sample=2,
            thin=10,
        ),
        SteadyRow(_all(100, 100), sample=10, thin=100),
        SteadyRow(_all(100, 100, "`max_payloads` 2**24", limits=Limits(max_payloads=2**24)), sample=10, thin=1_000),
        SteadyRow(_all(100, 10, "each restarted every 6h", lifetime=6 * HOUR), sample=6, thin=20),
        SteadyRow(_all(100, 1, "0.1/s more replayed from 30 days", replayed=0.1, history=30.0), sample=2, thin=10),
        SteadyRow(
            _all(
                100,
                1,
                "0.1/s more replayed from 30 days, `cache_size` 1,000",
                replayed=0.1,
                history=30.0,
                limits=Limits(cache_size=1_000),
            ),
            sample=1,
            thin=10,
        ),
        SteadyRow(_all(10, 10, "`verify_wraps` off", verify_wraps=False), thin=150),
        SteadyRow(_all(10, 10, "GCP", proves_version=False), sample=3, thin=20),
        SteadyRow(_all(100, 10, "GCP", proves_version=False), sample=1, thin=4),
        SteadyRow(_all(100, 10, "GCP, `lease` 1h", proves_version=False, limits=Limits(lease=HOUR)), sample=1, thin=40),
        SteadyRow(_all(100, 10, "GCP, task queues of 20", proves_version=False, group=20), sample=2, thin=10),
        SteadyRow(_all(100, 1, "direct", direct=True), family=DIRECT),
    ]


def throttled() -> list[ThrottledRow]:
    """Starts that are more than the KMS allows, small enough to be simulated whole."""
    return [
        ThrottledRow(replace(_all(50, 10, "500 calls/s allowed"), quota=500.0)),
        ThrottledRow(replace(_all(50, 10, "200 calls/s allowed"), quota=200.0)),
        ThrottledRow(replace(_all(50, 10, "50 calls/s allowed"), quota=50.0)),
    ]


def more_startups() -> list[StartupRow]:
    """Further ones for ``--full``."""
    return [
        StartupRow(_all(workers, rate), family=family, seconds=60)
        for workers in (30, 300, 1_000)
        for rate, family in ((1.0, ALL_1), (10.0, ALL_10))
    ]


def more_steadies() -> list[SteadyRow]:
    """Further ones for ``--full``."""
    return [
        SteadyRow(_all(workers, 10, note, group=group), sample=sample, thin=thin)
        for workers, sample, thin in ((30, 30, 100), (300, 30, 30))
        for note, group in (("", 0), ("task queues of 10", 10))
    ]
