"""Rates and quantiles between two answers of an endpoint."""

from __future__ import annotations

import pytest

from envelope_codec.cli.doctor.watch.change import Change, Told, quantiles, rates
from envelope_codec.cli.doctor.watch.exposition import parse
from tests.support.told_metrics import changed, series


def test_rates_are_put_together_by_label() -> None:
    one = changed(
        series("calls_total", 10, operation="wrap", key_id="a") + series("calls_total", 5, operation="unwrap"),
        series("calls_total", 40, operation="wrap", key_id="a")
        + series("calls_total", 30, operation="wrap", key_id="new")
        + series("calls_total", 5, operation="unwrap"),
        seconds=30,
    )
    other = changed(series("calls", 0, operation="wrap"), series("calls", 6, operation="wrap"), seconds=60)
    assert rates([one, other], "envelope_codec_calls", "operation") == {("wrap",): 2.1, ("unwrap",): 0.0}


def test_a_counter_that_fell_began_anew() -> None:
    change = changed(series("calls_total", 100), series("calls_total", 6), seconds=2)
    assert rates([change], "envelope_codec_calls") == {(): 3.0}


def test_one_answer_says_nothing_of_rates() -> None:
    only = Told(7.0, parse(series("calls_total", 100, operation="wrap")))
    assert rates([Change(only, only)], "envelope_codec_calls", "operation") == {("wrap",): 0.0}
    assert list(Change(only, only).gauges("envelope_codec_calls")) == [({"operation": "wrap"}, 100.0)]


def buckets(*counts: float) -> str:
    bounds = ("0.1", "1", "+Inf")
    return "".join(
        series("d_seconds_bucket", count, le=bound, operation="wrap")
        for bound, count in zip(bounds, counts, strict=True)
    )


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((100, 100, 100), 0.05),
        ((0, 100, 100), 0.55),
        ((0, 0, 100), 1.0),  # beyond the last bound, that is all that is known
        ((50, 100, 100), 0.1),
        ((0, 0, 0), None),
    ],
)
def test_a_quantile_is_estimated_as_prometheus_does(counts: tuple[float, ...], expected: float | None) -> None:
    change = changed(buckets(7, 7, 7), buckets(*(count + 7 for count in counts)))
    found = quantiles([change], "envelope_codec_d", 0.5, "operation")
    assert found == ({} if expected is None else {("wrap",): pytest.approx(expected)})


def test_buckets_whose_bound_is_no_number_are_passed_over() -> None:
    text = series("d_seconds_bucket", 9, le="many") + series("d_seconds_bucket", 9)
    assert quantiles([changed("", text)], "envelope_codec_d", 0.5) == {}
