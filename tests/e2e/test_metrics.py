"""What Prometheus gets from a worker: from the SDK's own endpoint, in peace and while a real KMS is out."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from devstack import OpenBao, TemporalServer
from prometheus_client.parser import text_string_to_metric_families
from temporalio.client import Client
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.worker import Worker

from envelope_codec import EnvelopePlugin
from envelope_codec.metrics import HISTOGRAM_BUCKETS, INSTRUMENTS, TemporalMetrics
from tests.support.clock_moved_ahead import ClockMovedAhead
from tests.support.kms_process import Kms, paused
from tests.support.server_records import eventually
from tests.support.small_workflows import Hello

LEASE = 300.0
ONLY_UNDER_LOAD = {"envelope_codec.refused"}
"""No worker has this one in peace."""


def free_address() -> str:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


class Endpoint:
    """The endpoint of a runtime of its own."""

    def __init__(self) -> None:
        self._address = free_address()
        config = PrometheusConfig(bind_address=self._address, histogram_bucket_overrides=HISTOGRAM_BUCKETS)
        self.runtime = Runtime(telemetry=TelemetryConfig(metrics=config))

    async def scrape(self) -> list[tuple[str, dict[str, str], float]]:
        """Each sample of ours: its name, its labels but the runtime's own, and its value."""
        async with httpx.AsyncClient() as http:
            text = (await http.get(f"http://{self._address}/metrics")).text
        return [
            (
                sample.name,
                {name: value for name, value in sample.labels.items() if name != "service_name"},
                sample.value,
            )
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("envelope_codec")
        ]

    async def gauges(self) -> dict[str, float]:
        """The gauges of the outage, by the ends of their names."""
        samples = await self.scrape()
        names = ("lease_since_success_seconds", "lease_grace_left_seconds", "breaker_open")
        return {name: value for full, _, value in samples for name in names if full == f"envelope_codec_{name}"}


async def test_the_sdks_endpoint_has_every_instrument_and_shows_an_outage(
    temporal_server: TemporalServer, openbao: OpenBao, tmp_path: Path, name: str
) -> None:
    endpoint, clock = Endpoint(), ClockMovedAhead()
    settings: dict[str, Any] = {"storage": f"file://{tmp_path}/store", "storage_threshold": 0, "compression": "zstd"}
    settings.update(keystore=f"file://{tmp_path}/keystore", startup_jitter=0)
    for folder in ("store", "keystore"):
        (tmp_path / folder).mkdir()
    observer = TemporalMetrics(endpoint.runtime.metric_meter)
    with (
        closing(Kms("vault", openbao)) as kms,
        EnvelopePlugin(kms.key(patience=0.2), observer=observer, **settings) as plugin,
    ):
        clock.rules(plugin)
        client = await Client.connect(temporal_server.address, plugins=[plugin], runtime=endpoint.runtime)
        async with clock.running(), Worker(client, task_queue=name, workflows=[Hello]):
            assert await client.execute_workflow(Hello.run, "Ada", id=name, task_queue=name) == "Hello, Ada!"
            clock.advance(5.0)
            samples = await endpoint.scrape()
            found = {full.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for full, _, _ in samples}
            assert found == {one.prometheus for one in INSTRUMENTS if one.name not in ONLY_UNDER_LOAD}
            check_labels(samples, kms.uri)

            with paused(openbao):

                async def in_grace() -> dict[str, float] | None:
                    clock.advance(10.0)
                    plugin.keyring.try_sealing_key("default")
                    found = await endpoint.gauges()
                    return found if found.get("lease_grace_left_seconds") and found["breaker_open"] else None

                told = await eventually(in_grace, "grace and an open breaker")
                assert told["lease_since_success_seconds"] > LEASE
                assert 0 < told["lease_grace_left_seconds"] < 3_600
                again = f"{name} again"
                assert await client.execute_workflow(Hello.run, "Bob", id=again, task_queue=name) == "Hello, Bob!"

            async def in_peace() -> dict[str, float] | None:
                clock.advance(5.0)
                plugin.keyring.try_sealing_key("default")
                found = await endpoint.gauges()
                return None if found["lease_grace_left_seconds"] or found["breaker_open"] else found

            told = await eventually(in_peace, "a renewed lease")
            assert told["lease_since_success_seconds"] < LEASE
            errors = {
                (labels["operation"], labels["error_type"])
                for full, labels, _ in await endpoint.scrape()
                if full == "envelope_codec_kms_calls_total" and "error_type" in labels
            }
            assert errors == {("unwrap", "KmsUnavailable")}


def check_labels(samples: list[tuple[str, dict[str, str], float]], uri: str) -> None:
    """Check that labels are those of the instruments, and that durations fall into buckets of seconds."""
    allowed = {one.prometheus: {name.replace(".", "_") for name in one.attributes} for one in INSTRUMENTS}
    for full, labels, _ in samples:
        instrument = full.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
        assert set(labels) - {"le", "error_type"} == allowed[instrument] - {"error_type"}, full
    keys = {labels["key_id"] for _, labels, _ in samples if "key_id" in labels}
    assert len(keys) == 1
    assert {labels["provider"] for _, labels, _ in samples if "provider" in labels} == {"vault"}
    assert min(float(labels["le"]) for _, labels, _ in samples if "le" in labels) < 0.001


@pytest.mark.parametrize("kind", ["counter", "gauge", "attribute"])
async def test_the_sdk_drops_what_has_a_dot_in_its_name(kind: str) -> None:
    """Which is why names are spelled as in Prometheus there. Should this fail, that may end."""
    endpoint = Endpoint()
    meter = endpoint.runtime.metric_meter
    if kind == "counter":
        meter.create_counter("envelope_codec.dotted").add(1, {})
    elif kind == "gauge":
        meter.create_gauge("envelope_codec.dotted").set(1, {})
    else:
        meter.create_counter("envelope_codec_dotted").add(1, {"key.id": "k"})
    meter.create_gauge("envelope_codec_plain").set(1, {})
    samples = await endpoint.scrape()
    assert [full for full, _, _ in samples] == ["envelope_codec_plain"]


async def test_the_sdk_adds_suffixes_without_a_look_at_the_name() -> None:
    address = free_address()
    config = PrometheusConfig(bind_address=address, counters_total_suffix=True, unit_suffix=True)
    runtime = Runtime(telemetry=TelemetryConfig(metrics=config))
    runtime.metric_meter.create_counter("x_total").add(1, {})
    runtime.metric_meter.create_histogram_float("y_seconds", unit="s").record(0.01, {})
    runtime.metric_meter.create_histogram_float("z_seconds").record(0.01, {})
    text = await asyncio.to_thread(lambda: httpx.get(f"http://{address}/metrics").text)
    assert "x_total_total{" in text
    assert "y_seconds_s_count{" in text
    assert 'z_seconds_bucket{service_name="temporal-core-sdk",le="50"} 1' in text  # the lowest, of milliseconds
