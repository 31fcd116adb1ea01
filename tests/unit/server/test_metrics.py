"""What the metrics count."""

from __future__ import annotations

from temporalio.api.common.v1 import Payload

from envelope_codec.observe import Event
from envelope_codec.server.metrics import Metrics
from envelope_codec.server.payloads.outcome import OPENED, Outcome


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics._registry.get_sample_value(f"envelope_codec_{name}", labels)


def test_requests_payloads_and_refusals_are_counted() -> None:
    metrics = Metrics()
    metrics.count_answer("decode", 200, 0.1, [Outcome(Payload(), OPENED)] * 3)
    metrics.count_limited("rate")
    assert value(metrics, "server_requests_total", verb="decode", status="200") == 1
    assert value(metrics, "server_payloads_total", verb="decode", outcome="opened") == 3
    assert value(metrics, "server_limited_total", budget="rate") == 1
    assert b"envelope_codec_server_request_seconds_bucket" in metrics.render()


def test_gauges_go_up_and_down() -> None:
    metrics = Metrics()
    with metrics.count_under_way():
        assert value(metrics, "server_requests_under_way") == 1
    metrics.add_body_bytes(10)
    metrics.add_body_bytes(-4)
    metrics.add_waiting(1)
    assert value(metrics, "server_requests_under_way") == 0
    assert value(metrics, "server_body_bytes") == 6
    assert value(metrics, "server_waiting") == 1


def test_kms_calls_are_counted_and_other_events_are_not() -> None:
    metrics = Metrics()
    for operation in ("unwrap", "open"):
        metrics.on_event(Event(operation, "ok", "default", "key-1", 0.1))
    labels = {"outcome": "ok", "key_id": "key-1"}
    assert value(metrics, "kms_calls_total", operation="unwrap", **labels) == 1
    assert value(metrics, "kms_calls_total", operation="open", **labels) is None
