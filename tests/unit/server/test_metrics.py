"""What the metrics of the codec server count, and by which labels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec.metrics import INSTRUMENTS
from envelope_codec.observe import Event
from envelope_codec.server.metrics import FOLDER, Metrics
from envelope_codec.server.payloads.outcome import OPENED, PASSED, SEALED, Outcome
from tests.support.keyring_on_fakes import Ring

HTTP = "http_server_request_duration_seconds_count"


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics._registry.get_sample_value(name if name == HTTP else f"envelope_codec_{name}", labels)


def request_labels(method: str, route: str, status: str, error: str = "") -> dict[str, str]:
    return {
        "http_request_method": method,
        "http_route": route,
        "http_response_status_code": status,
        "error_type": error,
    }


def test_it_keeps_every_instrument_under_its_prometheus_name() -> None:
    told = Metrics().render().decode()
    for instrument in INSTRUMENTS:
        assert f"# TYPE {instrument.prometheus} {instrument.kind}\n" in told


def test_requests_and_refusals_are_counted() -> None:
    metrics = Metrics()
    metrics.count_request("POST", "/decode", 200, 0.1)
    metrics.count_request("POST", "/decode", 503, 0.1, "kms_unavailable")
    metrics.count_limited("rate")
    assert value(metrics, HTTP, **request_labels("POST", "/decode", "200")) == 1
    assert value(metrics, HTTP, **request_labels("POST", "/decode", "503", "kms_unavailable")) == 1
    assert value(metrics, "refused_total", reason="rate") == 1


def test_methods_and_paths_that_nobody_knows_are_one_series() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.count_request(f"BREW{number}", None, 404, 0.1)
    assert value(metrics, HTTP, **request_labels("_OTHER", "other", "404")) == 100


def test_payloads_are_counted_by_what_became_of_them_and_by_namespaces_that_the_settings_name() -> None:
    metrics = Metrics(["prod"])
    outcomes = [
        *[Outcome(Payload(), OPENED, "prod")] * 3,
        *[Outcome(Payload(), OPENED, f"made-up-{number}") for number in range(100)],
        Outcome(Payload(), PASSED),
        *[Outcome(Payload(), "KeyDenied", f"made-up-{number}") for number in range(100)],
        Outcome(Payload(), SEALED, "prod"),  # the codec tells of it
    ]
    metrics.count_outcomes(outcomes)
    assert value(metrics, "payloads_total", operation="open", namespace="prod", error_type="") == 3
    assert value(metrics, "payloads_total", operation="open", namespace="other", error_type="") == 100
    assert value(metrics, "payloads_total", operation="open", namespace="other", error_type="KeyDenied") == 100
    assert value(metrics, "payloads_total", operation="pass", namespace="", error_type="") == 1
    metrics.on_event(Event("seal", "ok", "prod", payloads=2, seconds=0.1, size=30))
    metrics.on_event(Event("seal", "KeyDenied", "made-up", payloads=2, seconds=0.1))
    assert value(metrics, "payloads_total", operation="seal", namespace="prod", error_type="") == 2
    assert value(metrics, "payloads_total", operation="seal", namespace="other", error_type="KeyDenied") == 2
    assert value(metrics, "payload_bytes_total", operation="seal", namespace="prod") == 30
    assert b"made-up" not in metrics.render()


def test_payloads_that_were_opened_are_counted_once() -> None:
    metrics = Metrics(["default"])
    metrics.on_event(Event("open", "ok", "default", payloads=2, seconds=0.1, size=100, fetched=1))
    labels = {"operation": "open", "namespace": "default", "error_type": ""}
    assert value(metrics, "payloads_total", **labels) is None
    assert value(metrics, "codec_duration_seconds_count", **{**labels, "namespace": ""}) == 1
    assert value(metrics, "cache_lookups_total", cache="opening", result="hit") == 1


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


async def test_the_keyring_is_looked_at_when_the_metrics_are_asked_for() -> None:
    metrics = Metrics(["default"])
    ring = Ring(observer=metrics)
    key = await ring.seal()
    await ring.open(key.record)
    ring.advance(100.0)
    metrics.render()
    labels = {"namespace": "default", "key_id": ring.kms.key_id}
    assert value(metrics, "lease_since_success_seconds", operation="unwrap", **labels) == pytest.approx(100.0)
    assert value(metrics, "sealing_key_recipients", **labels) == 1
    assert value(metrics, "keys_cached") == 1
    ring.kms.down = True
    ring.advance(300.0, step=10.0, use=lambda: ring.use(key.record))
    metrics.render()
    assert value(metrics, "breaker_open", key_id=ring.kms.key_id) == 1
    assert (value(metrics, "lease_grace_left_seconds", operation="unwrap", **labels) or 0.0) > 3_000
    ring.keyring.close()
    metrics.render()
    assert value(metrics, "breaker_open", key_id=ring.kms.key_id) == 0


WORKER = """
import asyncio, sys
from envelope_codec.server.metrics import Metrics
from tests.support.keyring_on_fakes import Ring

metrics = Metrics(["default"])
ring = Ring(observer=metrics)
asyncio.run(ring.seal())
metrics.count_request("POST", "/decode", 200, 0.1)
ring.clock.advance(0.0)
print(metrics.render().decode())
"""


def test_workers_put_their_numbers_together_and_those_that_ended_say_nothing_of_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    root = Path(__file__).resolve().parents[3]
    said = [
        subprocess.run([sys.executable, "-c", WORKER], cwd=root, check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert [text.count('envelope_codec_sealing_key_recipients{key_id="') for text in said] == [1, 1]
    assert 'http_route="/decode"} 2.0' in said[1]  # counters of a worker that ended count on
