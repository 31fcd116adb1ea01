"""What the two meters are told."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from temporalio.api.common.v1 import Payload
from temporalio.runtime import BUFFERED_METRIC_KIND_COUNTER, MetricBuffer, Runtime, TelemetryConfig

from envelope_codec import EnvelopeCodec, EnvelopeConfig, KeyDenied, Observer
from envelope_codec.metrics import OpenTelemetryMetrics, TemporalMetrics
from envelope_codec.observe import Event, report
from envelope_codec.testing import FakeKms


async def work(kms: FakeKms, observer: Observer) -> None:
    keyring = EnvelopeConfig(key=kms).keyring(observer=observer)
    codec = EnvelopeCodec(EnvelopeConfig(key=kms), keyring=keyring)
    sealed = await codec.encode([Payload(data=b"1"), Payload(data=b"2")])
    await codec.decode([*sealed, Payload(data=b"3")])
    kms.denied = True
    with pytest.raises(KeyDenied):
        await EnvelopeCodec(EnvelopeConfig(key=kms), keyring=EnvelopeConfig(key=kms).keyring(observer=observer)).decode(
            sealed
        )
    keyring.close()
    report(observer, Event("put", "ok", "default", "my-store", 0.5))
    report(observer, Event("publish", "ok", "default", seconds=0.5))
    report(observer, Event("lookup", "StoreUnavailable", "default", seconds=0.5))
    report(observer, Event("queue", "ok", "default", queued=3))


def expected(kms: FakeKms) -> dict[tuple[str, tuple[tuple[str, str], ...]], int]:
    key = {"key_id": kms.key_id}
    space = {"namespace": "default"}
    wanted: list[tuple[str, dict[str, str], int]] = [
        ("envelope_codec_kms_calls", {"operation": "wrap", "outcome": "ok", **key}, 1),
        ("envelope_codec_kms_calls", {"operation": "unwrap", "outcome": "ok", **key}, 1),
        ("envelope_codec_kms_calls", {"operation": "unwrap", "outcome": "KeyDenied", **key}, 1),
        ("envelope_codec_payloads", {"operation": "seal", "outcome": "ok", **space}, 2),
        ("envelope_codec_payloads", {"operation": "open", "outcome": "ok", **space}, 2),
        ("envelope_codec_payloads", {"operation": "pass", "outcome": "ok", **space}, 1),
        ("envelope_codec_payloads", {"operation": "open", "outcome": "KeyDenied", **space}, 2),
        ("envelope_codec_store_calls", {"operation": "put", "outcome": "ok", "store": "my-store"}, 1),
        ("envelope_codec_keystore_calls", {"operation": "publish", "outcome": "ok"}, 1),
        ("envelope_codec_keystore_calls", {"operation": "lookup", "outcome": "StoreUnavailable"}, 1),
    ]
    return {(name, tuple(sorted(attributes.items()))): count for name, attributes, count in wanted}


async def test_opentelemetry_is_told() -> None:
    kms, reader = FakeKms(), InMemoryMetricReader()
    await work(kms, OpenTelemetryMetrics(MeterProvider([reader]).get_meter("envelope_codec")))
    found: dict[Any, Any] = {}
    names = set()
    data = reader.get_metrics_data()
    assert data is not None
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        names.add(metric.name)
        for point in metric.data.data_points:
            if hasattr(point, "value"):
                found[metric.name, tuple(sorted((point.attributes or {}).items()))] = point.value
    assert found == {**expected(kms), ("envelope_codec_keystore_queued", ()): 3}
    latencies = {"envelope_codec_kms_latency", "envelope_codec_store_latency", "envelope_codec_keystore_latency"}
    assert latencies <= names


async def test_temporals_meter_is_told() -> None:
    kms, buffer = FakeKms(), MetricBuffer(1_000)
    runtime = Runtime(telemetry=TelemetryConfig(metrics=buffer))
    await work(kms, TemporalMetrics(runtime.metric_meter))
    found: dict[Any, Any] = {}
    for update in buffer.retrieve_updates():
        if update.metric.name.startswith("envelope_codec") and update.metric.kind == BUFFERED_METRIC_KIND_COUNTER:
            attributes = {name: value for name, value in update.attributes.items() if name != "service_name"}
            name = update.metric.name, tuple(sorted(attributes.items()))
            found[name] = found.get(name, 0) + update.value
    assert found == expected(kms)


def test_a_faulty_observer_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty:
        def on_event(self, event: Event) -> None:
            raise RuntimeError("no disk")

    report(Faulty(), Event("seal", "ok", "default"))
    assert "the observer failed" in caplog.text


async def seal_with_one_of_two(observer: Observer) -> str:
    """The key id of the one that wraps."""
    kms, backup = FakeKms(), FakeKms()
    backup.denied = True
    keyring = EnvelopeConfig(key=kms, backup_keys=[backup]).keyring(observer=observer)
    await keyring.sealing_key("default")
    keyring.close()
    return kms.key_id


async def test_opentelemetry_is_told_how_many_recipients_the_key_in_use_has() -> None:
    reader = InMemoryMetricReader()
    key_id = await seal_with_one_of_two(OpenTelemetryMetrics(MeterProvider([reader]).get_meter("envelope_codec")))
    data = reader.get_metrics_data()
    assert data is not None
    found = {
        metric.name: [
            (dict(point.attributes or {}), getattr(point, "value", None)) for point in metric.data.data_points
        ]
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
    }
    where = {"namespace": "default", "key_id": key_id}
    assert found["envelope_codec_recipients"] == [(where, 1)]
    assert found["envelope_codec_recipients_lacking"] == [(where, 1)]


async def test_temporals_meter_is_told_how_many_recipients_the_key_in_use_has() -> None:
    buffer = MetricBuffer(1_000)
    runtime = Runtime(telemetry=TelemetryConfig(metrics=buffer))
    key_id = await seal_with_one_of_two(TemporalMetrics(runtime.metric_meter))
    found = {
        update.metric.name: (update.attributes["namespace"], update.attributes["key_id"], update.value)
        for update in buffer.retrieve_updates()
        if "recipients" in update.metric.name
    }
    assert found == {
        "envelope_codec_recipients": ("default", key_id, 1),
        "envelope_codec_recipients_lacking": ("default", key_id, 1),
    }


async def seal_compressed(observer: Observer) -> tuple[int, int]:
    """Seal two payloads, one of which shrinks. Return their bytes before, and about how many there are after."""
    config = EnvelopeConfig(key=FakeKms(), compression="zstd")
    with_text, without = Payload(data=b"the same words " * 100), Payload(data=b"short")
    codec = EnvelopeCodec(config, observer=observer)
    sealed = await codec.encode([with_text, without])
    codec.close()
    return with_text.ByteSize() + without.ByteSize(), sum(len(payload.data) - 60 for payload in sealed)


async def test_opentelemetry_is_told_what_compression_gains() -> None:
    reader = InMemoryMetricReader()
    before, after = await seal_compressed(OpenTelemetryMetrics(MeterProvider([reader]).get_meter("envelope_codec")))
    data = reader.get_metrics_data()
    assert data is not None
    found = {
        metric.name: [
            (dict(point.attributes or {}), getattr(point, "value", None)) for point in metric.data.data_points
        ]
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        if "compression" in metric.name
    }
    assert found == {
        "envelope_codec_compression_bytes_before": [({"namespace": "default"}, before)],
        "envelope_codec_compression_bytes_after": [({"namespace": "default"}, after)],
    }
    assert after < before / 5


async def test_temporals_meter_is_told_what_compression_gains() -> None:
    buffer = MetricBuffer(1_000)
    before, after = await seal_compressed(
        TemporalMetrics(Runtime(telemetry=TelemetryConfig(metrics=buffer)).metric_meter)
    )
    found = {
        update.metric.name: (update.attributes["namespace"], update.value)
        for update in buffer.retrieve_updates()
        if "compression" in update.metric.name
    }
    assert found == {
        "envelope_codec_compression_bytes_before": ("default", before),
        "envelope_codec_compression_bytes_after": ("default", after),
    }
