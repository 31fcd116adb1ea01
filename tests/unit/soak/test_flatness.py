"""Flat is what does not rise from the second quarter to the last, beyond a bound."""

from __future__ import annotations

from collections.abc import Callable

from tests.soak.flatness import BOUNDS, ENOUGH, Sample, judge

LONG = 400


def samples(memory: Callable[[int], float], threads: float = 30.0, files: float = 60.0) -> list[Sample]:
    return [Sample(1_000.0 + 2 * number, memory(number), threads, files) for number in range(LONG)]


def rising(found: list[Sample]) -> set[str]:
    return {verdict.quantity for verdict in judge(found, 60.0, 240.0) if not verdict.flat}


def test_what_stays_is_flat() -> None:
    assert [verdict.quantity for verdict in judge(samples(lambda number: 150.0), 60.0, 240.0)] == list(BOUNDS)
    assert rising(samples(lambda number: 150.0)) == set()


def test_what_fills_up_at_first_is_flat() -> None:
    assert rising(samples(lambda number: min(100.0 + number, 180.0))) == set()


def test_a_peak_is_no_rise() -> None:
    assert rising(samples(lambda number: 900.0 if number % 50 == 0 else 150.0)) == set()


def test_what_goes_on_rising_is_not_flat() -> None:
    assert rising(samples(lambda number: 100.0 + 0.5 * number)) == {"memory"}


def test_threads_and_files_are_watched() -> None:
    grown = [one._replace(threads=30 + number / 4, files=60 + number / 2) for number, one in enumerate(samples(float))]
    assert rising([one._replace(memory=100.0) for one in grown]) == {"threads", "files"}


def test_of_a_short_life_nothing_is_said() -> None:
    assert judge([], 60.0, 0.0) == []
    assert judge(samples(float)[: 30 + 4 * ENOUGH - 5], 60.0, 0.0) == []
    assert judge(samples(float)[:120], 60.0, 240.0) == []
    assert judge(samples(float)[:122], 60.0, 240.0) != []
