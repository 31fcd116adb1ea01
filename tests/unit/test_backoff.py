"""Backoff: how long to wait after failures in a row."""

from __future__ import annotations

import pytest

from envelope_codec._backoff import Backoff, lengthen, shorten


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0.5), (1, 0.5), (2, 1.0), (3, 2.0), (5, 8.0), (6, 10.0), (1_000_000, 10.0)]
)
def test_it_doubles_with_each_failure_up_to_a_bound(failures: int, seconds: float) -> None:
    assert Backoff(0.5, 10.0).seconds(failures) == seconds


@pytest.mark.parametrize(("jitter", "shorter", "longer"), [(0.0, 4.0, 8.0), (0.5, 6.0, 9.0), (1.0, 8.0, 10.0)])
def test_jitter_spreads_it(jitter: float, shorter: float, longer: float) -> None:
    assert shorten(8.0, jitter) == shorter
    assert lengthen(8.0, jitter, 0.25) == longer
