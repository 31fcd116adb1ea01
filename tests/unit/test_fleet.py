"""The model of a fleet's KMS calls agrees with real keyrings in simulated time, and docs/scaling.md with both."""

from __future__ import annotations

import asyncio
import math
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import fleet, fleet_model, fleet_plot, fleet_scenarios, fleet_simulation
from benchmarks.fleet_prices import MONTH, dollars
from benchmarks.fleet_shape import Fleet
from benchmarks.fleet_table import STARTUP_HEAD, STEADY_HEAD, THROTTLED_HEAD, Row, figure, line
from benchmarks.fleet_time import SimulatedLoop, SimulatedThreads
from envelope_codec.keys.limits import Limits

PAGE = fleet.PAGE.read_text("utf-8")
DAY, HOUR = 86_400.0, 3_600.0
SHORT = Limits(max_age=2 * HOUR, cache_ttl=2 * HOUR)
UNRENEWED = 30 * DAY  # a lease so long that no renewal falls into a test


# --- the model against the simulation -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "fleet",
    [
        Fleet("all", 20, 5.0),
        Fleet("no jitter", 20, 5.0, startup_jitter=0.0),
        Fleet("queues", 20, 5.0, group=5),
        Fleet("starters", 20, 2.0, starters=5),
        Fleet("replays", 10, 2.0, replayed=4.0, history=10.0),
        Fleet("encrypt only", 20, 5.0, verify_wraps=False),
        Fleet("direct", 10, 8.0, direct=True),
    ],
    ids=lambda fleet: fleet.name,
)
def test_model_and_simulation_agree_on_a_start_of_all_workers(fleet: Fleet) -> None:
    model, simulated = fleet_model.startup(fleet, 10), fleet_simulation.startup(fleet, 10).seconds
    assert max(simulated) == pytest.approx(max(model), rel=0.12)
    assert sum(simulated) == pytest.approx(sum(model), rel=0.08)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fleet",
    [
        Fleet("all", 8, 0.2, limits=SHORT),
        Fleet("idle", 8, 0.002, limits=Limits(lease=600.0)),
        Fleet("short lease", 4, 0.4, limits=replace(SHORT, lease=60.0)),
        Fleet("short cache", 8, 0.2, limits=replace(SHORT, cache_ttl=HOUR / 2)),
        Fleet("counted", 8, 1.0, limits=Limits(max_payloads=2**11)),
        Fleet("queues", 8, 0.2, group=4, limits=SHORT),
        Fleet("starters", 8, 0.1, starters=4, limits=SHORT),
        Fleet("restarts", 8, 0.2, lifetime=HOUR, limits=SHORT),
        Fleet("replays", 4, 0.1, replayed=0.2, history=2.0, limits=SHORT),
        Fleet("small cache", 4, 0.1, replayed=0.1, history=2.0, limits=replace(SHORT, cache_size=50)),
        Fleet("encrypt only", 8, 0.2, verify_wraps=False, limits=SHORT),
        Fleet("versions unproved", 8, 0.2, proves_version=False, limits=SHORT),
        Fleet("versions unproved, encrypt only", 4, 0.2, proves_version=False, verify_wraps=False, limits=SHORT),
        Fleet("direct", 8, 4.0, direct=True),
    ],
    ids=lambda fleet: fleet.name,
)
def test_model_and_simulation_agree_on_steady_state(fleet: Fleet) -> None:
    assert fleet_simulation.steady(fleet) == pytest.approx(fleet_model.steady(fleet).total, rel=0.08)


@pytest.mark.slow
def test_a_sample_and_thinner_payloads_cost_as_much_as_all() -> None:
    whole = Fleet("", 16, 0.2, limits=replace(SHORT, lease=HOUR))
    assert fleet_simulation.steady(whole, sample=4, thin=4) == pytest.approx(fleet_simulation.steady(whole), rel=0.05)
    counted = replace(whole, limits=replace(whole.limits, max_payloads=2**9))
    assert fleet_simulation.steady(counted, sample=4, thin=2) == pytest.approx(
        fleet_simulation.steady(counted), rel=0.08
    )


# --- what the documents say of the keyring ------------------------------------------------------------------------


@pytest.mark.parametrize(("ttl", "times"), [(DAY, 1), (12 * HOUR, 2), (6 * HOUR, 4)])
def test_readers_unwrap_a_key_in_use_once_unless_the_cache_forgets_it_earlier(ttl: float, times: int) -> None:
    workers = 6
    few = Fleet("", workers, 0.01, limits=Limits(lease=UNRENEWED, cache_ttl=ttl))
    life = fleet_model.key_life(few.limits, few.rate)
    calls = fleet_simulation.steady(few) * life  # in one life of every wrapping key
    # What a worker sealed itself it unwraps only where the cache has forgotten that.
    unwraps = workers * (workers - 1) * times + workers * (times - 1)
    assert calls == pytest.approx(workers * 2 + unwraps, abs=workers)


def test_a_deploy_costs_two_calls_a_worker_and_one_for_each_pair_of_two_workers() -> None:
    workers = 12
    whole = Fleet("", workers, 5.0, limits=Limits(lease=UNRENEWED))
    calls = sum(fleet_simulation.startup(whole, 60).seconds)
    assert calls == 2 * workers + workers * (workers - 1) == fleet_model.deploy(whole)


def test_calls_over_the_quota_are_throttled_and_none_within_it() -> None:
    busy = Fleet("", 12, 5.0, quota=20.0)
    measured = fleet_simulation.startup(busy, 20)
    assert measured.throttled > 0
    assert sum(measured.seconds) - measured.throttled <= 20 * 20
    assert measured.wait > 1.0
    assert not fleet_simulation.startup(replace(busy, quota=1_000.0), 20).throttled


# --- simulated time -----------------------------------------------------------------------------------------------


def test_simulated_time_passes_at_once_and_in_order() -> None:
    loop = SimulatedLoop()
    woken: list[float] = []

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append(loop.time())

    async def both() -> None:
        await asyncio.gather(sleep(DAY), sleep(HOUR))

    begun = time.monotonic()
    loop.run_until_complete(both())
    with pytest.raises(RuntimeError, match="nothing is scheduled"):
        loop.run_until_complete(loop.create_future())
    loop.close()
    assert woken == pytest.approx([HOUR, DAY])
    assert time.monotonic() - begun < HOUR


def test_no_more_jobs_run_at_once_than_a_keyring_has_threads() -> None:
    loop = SimulatedLoop()
    ended: list[float] = []
    threads = SimulatedThreads(loop, lambda: 1.0)
    for _ in range(100):
        threads(lambda: ended.append(loop.time()))
    loop.run_until_complete(asyncio.sleep(10))
    loop.close()
    assert [ended.count(second) for second in (1.0, 2.0, 3.0)] == [36, 36, 28]


# --- the model ----------------------------------------------------------------------------------------------------


def test_unwraps_of_a_key_between_the_rarest_and_the_most_frequent_payloads() -> None:
    assert fleet_model.unwraps(100.0, 1e-9, 10.0) == pytest.approx(1e-7)
    assert fleet_model.unwraps(100.0, 1e4, 30.0) == pytest.approx(4.0, abs=0.01)
    assert fleet_model.unwraps(100.0, 0.01, 1e9) == pytest.approx(1 - math.exp(-1))


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (0.04544, "0.0454"), (5.409, "5.41"), (99.96, "100"), (2_234.6, "2,230")]
)
def test_figures_have_three_digits(number: float, text: str) -> None:
    assert figure(number).rstrip("0").rstrip(".") in (text, text.rstrip("0"))


# --- docs/scaling.md ----------------------------------------------------------------------------------------------


ROWS: list[Row] = [*fleet_scenarios.startups(), *fleet_scenarios.steadies()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row.quick],
    ids=lambda row: row.fleet.name,
)
def test_the_page_has_the_rows_that_the_command_prints(row: Row) -> None:
    row.simulate()
    assert f"\n{line(row.cells())}\n" in PAGE, "run: python benchmarks/fleet.py --write"


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        (STARTUP_HEAD, fleet_scenarios.startups()),
        (STEADY_HEAD, fleet_scenarios.steadies()),
        (THROTTLED_HEAD, fleet_scenarios.throttled()),
    ],
    ids=["startup", "steady", "throttled"],
)
def test_the_page_has_every_row_with_what_the_model_says(head: list[str], rows: list[Row]) -> None:
    lines = PAGE.splitlines()
    first = lines.index(line(head)) + 2
    for row, there in zip(rows, lines[first:], strict=False):
        model, found = row.cells(), [cell.strip() for cell in there.strip("|").split("|")]
        assert all(found)
        assert [cell if known != "…" else known for cell, known in zip(found, model, strict=True)] == model
    assert lines[first + len(rows)].startswith("<!-- end of")


@pytest.mark.parametrize(
    ("settings", "unit", "text"),
    [
        ({"rate": 100.0}, "dollars", "would pay $903 instead"),
        ({"rate": 100.0, "limits": Limits(max_payloads=2**24)}, "dollars", "instead of $136 a month"),
        ({"replayed": 1.0, "history": 30.0, "limits": Limits(cache_size=10_000)}, "calls", "calls a second of 760"),
        ({"replayed": 1.0, "history": 30.0}, "calls", "makes 300 calls a second"),
    ],
    ids=["fast", "fast, larger count", "replays, smaller cache", "replays"],
)
def test_what_the_page_says_of_a_thousand_workers_is_what_the_model_says(
    settings: dict[str, Any], unit: str, text: str
) -> None:
    calls = fleet_model.steady(replace(Fleet("", 1_000, 1.0), **settings)).total
    said = float(re.search(r"\d+", text)[0])  # type: ignore[index]
    assert text in PAGE
    assert (dollars(calls * MONTH) if unit == "dollars" else calls) == pytest.approx(said, rel=0.015)


def test_the_plot_has_the_model_s_lines() -> None:
    plot = fleet.PLOT.read_text("utf-8")
    for drawn in fleet_plot.drawn():
        assert f'points="{drawn}"' in plot, "run: python benchmarks/fleet.py --write"


def test_the_command_writes_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, rows in (("startups", fleet_scenarios.startups()), ("steadies", [])):
        monkeypatch.setattr(fleet_scenarios, name, lambda rows=rows: rows[:1])
    monkeypatch.setattr(fleet_scenarios, "throttled", list)
    page, plot = tmp_path / "scaling.md", tmp_path / "scaling.svg"
    page.write_text(PAGE, "utf-8")
    monkeypatch.setattr(fleet, "PAGE", page)
    monkeypatch.setattr(fleet, "PLOT", plot)
    fleet.main(["--write"])
    printed, after = capsys.readouterr().out, page.read_text("utf-8")
    assert line(fleet_scenarios.startups()[0].cells()) in PAGE
    assert [text for text in printed.splitlines() if text] == [
        text for text in after.splitlines() if text.startswith("|") and text in printed
    ]
    assert after.startswith(PAGE.partition("<!--")[0])
    assert after.endswith(PAGE.rpartition("-->")[2])
    assert plot.read_text("utf-8").count("<circle") == 2  # one point, and the one of the legend


def test_a_page_without_markers_is_not_written() -> None:
    with pytest.raises(ValueError, match="no markers for steady"):
        fleet.written("# Scaling\n", "steady", "")
