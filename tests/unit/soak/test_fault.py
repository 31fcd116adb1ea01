"""The schedule of faults: the same for a seed, all kinds, no two at once for one target."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.soak.fault import ALL_KEYS, RECIPES, schedule
from tests.soak.options import Options

ROOT = Path(__file__).resolve().parents[3]
HOUR = 3_600.0


def test_one_seed_gives_one_schedule() -> None:
    assert schedule(7, HOUR, 15.0) == schedule(7, HOUR, 15.0)
    assert schedule(7, HOUR, 15.0) != schedule(8, HOUR, 15.0)


@pytest.mark.parametrize("seed", range(20))
def test_an_hour_has_two_hundred_faults_of_all_kinds(seed: int) -> None:
    faults = schedule(seed, HOUR, 15.0)
    taken = Counter((fault.kind, fault.target) for fault in faults)
    assert len(faults) >= 200
    assert taken.keys() == {(recipe.kind, recipe.target) for recipe in RECIPES}
    assert max(taken.values()) - min(taken.values()) <= 3


@pytest.mark.parametrize("seed", range(20))
def test_faults_of_one_target_do_not_overlap(seed: int) -> None:
    ends: dict[str, float] = {}
    for fault in schedule(seed, 600.0, 3.0):
        for target in ("vault", "aws") if fault.target == ALL_KEYS else (fault.target,):
            assert fault.at > ends.get(target, -1.0)
            ends[target] = fault.at + fault.seconds
    assert max(ends.values()) <= 600.0


def test_a_key_is_rotated_ten_times_at_most() -> None:
    rotated = Counter(fault.target for fault in schedule(1, 20 * HOUR, 15.0) if fault.kind == "rotate")
    assert rotated == {"vault": 10, "aws": 10}


def test_the_worker_that_is_watched_for_flatness_is_never_ended() -> None:
    assert {recipe.kind for recipe in RECIPES if recipe.target == "worker-0"} == {"pause", "fork"}


def test_a_fault_is_printed_in_a_line() -> None:
    [line] = {str(fault) for fault in schedule(3, HOUR, 15.0)[:1]}
    assert "\n" not in line
    assert " s long" in line


def options(minutes: float, seed: int) -> Options:
    return Options(minutes, seed, None, None, None, "", 1)


def test_the_minute_in_ci_has_faults_of_every_sort() -> None:
    asked = re.search(r"make soak ARGS=\"--minutes 1 --seed (\d+)\"", (ROOT / ".ci" / "run").read_text("utf-8"))
    assert asked is not None
    faults = options(1, int(asked[1])).faults
    assert {"temporal", "store", "keystore", "worker-1", "worker-2"} <= {x.target for x in faults if x.kind == "kill"}
    assert {"cut", "fill", "fork", "pause", "renew", "revoke", "rotate", "skew"} <= {fault.kind for fault in faults}


def test_an_hour_starts_twenty_thousand_workflows_and_says_how_to_repeat_it() -> None:
    hour = options(60, 7)
    assert hour.number >= 20_000
    assert len(hour.faults) >= 200
    assert hour.command == 'make soak ARGS="--minutes 60 --seed 7"'
