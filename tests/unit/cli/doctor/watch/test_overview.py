"""What several endpoints tell, put together."""

from __future__ import annotations

from envelope_codec.cli.doctor.watch.overview import Lease, LeaseStage, overview_of
from tests.support.told_metrics import KEY, LEASE, changed, lease, overview, requests, sealing_key, series


def test_a_lease_is_live_in_grace_or_ended() -> None:
    told = lease(10, 0, "a") + lease(400, 3_500, "b") + lease(4_000, 0, "c")
    assert [(one.namespace, one.stage) for one in overview(told).leases] == [
        ("a", LeaseStage.live),
        ("b", LeaseStage.grace),
        ("c", LeaseStage.ended),
    ]


def test_what_nothing_uses_any_more_is_left_out() -> None:
    found = overview(lease(0, 0) + sealing_key(0, recipients=0))
    assert (found.leases, found.sealing_keys) == ([], [])


def test_of_several_processes_the_one_that_fares_worst_speaks() -> None:
    texts = [lease(10, 0), lease(400, 3_500), lease(500, 3_400)]
    (found,) = overview_of([changed(text, text) for text in texts], LEASE).leases
    assert found == Lease("prod", "unwrap", KEY, LeaseStage.grace, 500.0, 3_400.0, 3)


def test_of_several_sealing_keys_too() -> None:
    texts = [sealing_key(100, recipients=2), sealing_key(900, recipients=1, lacking=1)]
    (found,) = overview_of([changed(text, text) for text in texts], LEASE).sealing_keys
    assert (found.age, found.recipients, found.lacking, found.processes) == (900, 1, 1, 2)


def test_calls_are_counted_with_their_failures() -> None:
    def told(good: float, bad: float) -> str:
        where = {"operation": "unwrap", "provider": "aws", "key_id": KEY}
        return (
            series("kms_calls_total", good, **where)
            + series("kms_calls_total", bad, **where, error_type="KmsUnavailable")
            + series("kms_duration_seconds_bucket", good + bad, operation="unwrap", provider="aws", le="0.5")
            + series("kms_duration_seconds_bucket", good + bad, operation="unwrap", provider="aws", le="+Inf")
        )

    (calls,) = overview(told(0, 0), told(60, 120)).kms
    assert (calls.place, calls.operation, calls.rate) == ("aws", "unwrap", 3.0)
    assert (calls.failures, calls.key_ids) == ({"KmsUnavailable": 2.0}, {"KmsUnavailable": [KEY]})
    assert calls.p99 is not None
    assert 0.4 < calls.p99 <= 0.5


def test_payloads_stores_the_keystore_and_requests_are_there() -> None:
    text = (
        "".join(
            series("payloads_total", 60, operation=operation, namespace="prod")
            for operation in ("seal", "open", "legacy", "pass")
        )
        + series("payloads_total", 30, operation="open", namespace="prod", error_type="KeyDenied")
        + series("store_calls_total", 60, operation="put", store="s3")
        + series("keystore_calls_total", 60, operation="lookup")
        + series("keystore_queued", 3)
        + series("keystore_lag_seconds", 12)
        + series("keys_cached", 5)
        + series("refused_total", 60, reason="rate")
        + series("breaker_open", 1, key_id="b")
        + series("breaker_open", 0, key_id="a")
        + requests("200", 120, "/{namespace}/decode")
        + requests("200", 60, "/metrics")
    )
    found = overview_of([changed("envelope_codec_x 1\n", text)], LEASE)
    (payloads,) = found.payloads
    assert payloads[:5] == ("prod", 1.0, 1.0, 1.0, 1.0)
    assert payloads.failures == {("open", "KeyDenied"): 0.5}
    assert [(calls.place, calls.rate) for calls in (*found.stores, *found.keystore)] == [("s3", 1.0), ("keystore", 1.0)]
    assert (found.queued, found.lag, found.keys_cached, found.refused) == (3, 12.0, 5, {"rate": 1.0})
    assert (found.open_breakers, found.requests.by_status) == (["b"], {"200": 2.0})


def test_nothing_told_is_an_empty_overview() -> None:
    found = overview_of([], LEASE)
    assert (found.leases, found.kms, found.payloads, found.requests.by_status) == ([], [], [], {})
