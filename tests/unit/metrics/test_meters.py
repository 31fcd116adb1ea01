"""What the two meters are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from temporalio.api.common.v1 import Payload
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig

from envelope_codec import EnvelopeCodec, EnvelopeConfig, KeyDenied, Observer
from envelope_codec.keys import KeySet
from envelope_codec.metrics import INSTRUMENTS, OpenTelemetryMetrics, TemporalMetrics, hash_key_id
from envelope_codec.observe import Event, report
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import Ring

Told = dict[tuple[str, tuple[tuple[str, str], ...]], Any]
Meter = tuple[Observer, Callable[[], Told]]


def opentelemetry(**options: Any) -> Meter:
    """An observer, and what its meter says: the value of each counter and gauge, the count of each histogram."""
    reader = InMemoryMetricReader()
    observer = OpenTelemetryMetrics(MeterProvider([reader]).get_meter("envelope_codec"), **options)

    def told() -> Told:
        data, found = reader.get_metrics_data(), Told()
        for metric in data.resource_metrics[0].scope_metrics[0].metrics if data and data.resource_metrics else ():
            for point in metric.data.data_points:
                where = tuple(sorted((name, str(value)) for name, value in (point.attributes or {}).items()))
                found[metric.name, where] = getattr(point, "value", None) or getattr(point, "count", 0)
        return found

    return observer, told


def temporal(**options: Any) -> Meter:
    """The same for a meter of Temporal's SDK, in OpenTelemetry's spelling."""
    buffer = MetricBuffer(10_000)
    observer = TemporalMetrics(Runtime(telemetry=TelemetryConfig(metrics=buffer)).metric_meter, **options)
    names = {instrument.prometheus: instrument for instrument in INSTRUMENTS}
    spelling = {"error_type": "error.type", "key_id": "key.id"}
    found: Told = {}

    def told() -> Told:
        for update in buffer.retrieve_updates():
            instrument = names.get(update.metric.name)
            if instrument is None:
                assert not update.metric.name.startswith("envelope_codec"), update.metric.name
                continue
            where = {spelling.get(name, name): str(value) for name, value in update.attributes.items()}
            where.pop("service_name", None)
            series = instrument.name, tuple(sorted(where.items()))
            if instrument.kind == "gauge":
                found[series] = update.value
            else:
                found[series] = found.get(series, 0) + (1 if instrument.kind == "histogram" else update.value)
        return found

    return observer, told


METERS = [opentelemetry, temporal]


def series(name: str, **attributes: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    spelled = {key.replace("error_type", "error.type").replace("key_id", "key.id"): v for key, v in attributes.items()}
    return f"envelope_codec.{name}", tuple(sorted(spelled.items()))


@pytest.mark.parametrize("meter", METERS)
async def test_payloads_and_calls_are_told(meter: Callable[..., Meter]) -> None:
    observer, told = meter()
    kms = FakeKms()
    config = EnvelopeConfig(key=kms)
    keyring = config.keyring(observer=observer)
    codec = EnvelopeCodec(config, keyring=keyring)
    sealed = await codec.encode([Payload(data=b"1"), Payload(data=b"2")])
    await codec.decode([*sealed, Payload(data=b"3")])
    found = told()
    where, call = {"namespace": "default"}, {"provider": "testing"}
    assert found[series("payloads", operation="seal", **where)] == 2
    assert found[series("payloads", operation="open", **where)] == 2
    assert found[series("payloads", operation="pass", **where)] == 1
    assert found[series("payload.bytes", operation="seal", **where)] == 2 * Payload(data=b"1").ByteSize()
    assert found[series("payload.bytes", operation="open", **where)] == sum(len(one.data) for one in sealed)
    assert found[series("codec.duration", operation="seal", **where)] == 1
    assert found[series("codec.duration", operation="open", **where)] == 1
    for operation in ("wrap", "unwrap"):
        assert found[series("kms.calls", operation=operation, key_id=kms.key_id, **call)] == 1
        assert found[series("kms.duration", operation=operation, **call)] == 1
    assert found[series("cache.lookups", cache="opening", result="hit")] == 2  # own keys are kept
    kms.denied = True
    cold = EnvelopeCodec(config, keyring=config.keyring(observer=observer))
    for _ in range(2):  # the second time the refusal is remembered
        with pytest.raises(KeyDenied):
            await cold.decode(sealed[:1])
    found = told()
    denied = {"error_type": "KeyDenied"}
    assert found[series("kms.calls", operation="unwrap", key_id=kms.key_id, **call, **denied)] == 1
    assert found[series("payloads", operation="open", **where, **denied)] == 2
    assert found[series("codec.duration", operation="open", **where, **denied)] == 2
    assert found[series("cache.lookups", cache="opening", result="miss")] == 2
    assert found[series("cache.lookups", cache="refusal", result="miss")] == 1
    assert found[series("cache.lookups", cache="refusal", result="hit")] == 1
    keyring.close()
    cold.keyring.close()


@pytest.mark.parametrize("meter", METERS)
def test_calls_of_stores_and_keystores_are_told(meter: Callable[..., Meter]) -> None:
    observer, told = meter()
    report(observer, Event("put", "ok", "default", "my-store", 0.5))
    report(observer, Event("publish", "ok", "default", seconds=0.5))
    report(observer, Event("lookup", "StoreUnavailable", "default", seconds=0.5))
    report(observer, Event("lookup", "MalformedRow", "default"))
    report(observer, Event("refuse", "ok", "default", reason="keystore_lookups"))
    report(observer, Event("compress", "ok", "default", payloads=1, bytes_before=300, bytes_after=100))
    found = told()
    assert found[series("store.calls", operation="put", store="my-store")] == 1
    assert found[series("store.duration", operation="put", store="my-store")] == 1
    assert found[series("keystore.calls", operation="publish")] == 1
    assert found[series("keystore.duration", operation="publish")] == 1
    assert found[series("keystore.calls", operation="lookup", error_type="StoreUnavailable")] == 1
    assert found[series("keystore.calls", operation="lookup", error_type="MalformedRow")] == 1
    assert series("keystore.duration", operation="lookup", error_type="MalformedRow") not in found  # it was no call
    assert found[series("refused", reason="keystore_lookups")] == 1
    assert found[series("compression.bytes_before", namespace="default")] == 300
    assert found[series("compression.bytes_after", namespace="default")] == 100


@pytest.mark.parametrize("meter", METERS)
async def test_gauges_tell_how_the_keyring_fares(meter: Callable[..., Meter], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envelope_codec.metrics.open_telemetry._FRESH", 0.0)
    observer, told = meter()
    kms, backup = FakeKms(), FakeKms()
    backup.denied = True
    ring = Ring(KeySet(kms, (backup,)), observer=observer)
    key = await ring.seal()
    ring.advance(10.0, step=1.0)
    where = {"namespace": "default", "key_id": kms.key_id}
    found = told()
    assert found[series("keys.cached")] == 1
    assert 0.0 < found[series("sealing_key.age", **where)] <= 11.0
    assert found[series("sealing_key.uses", **where)] == 1
    assert found[series("sealing_key.recipients", **where)] == 1
    assert found[series("sealing_key.recipients_lacking", **where)] == 1
    assert found[series("lease.since_success", operation="unwrap", **where)] == pytest.approx(10.0)
    assert found[series("lease.grace_left", operation="unwrap", **where)] == 0
    assert found[series("breaker.open", key_id=kms.key_id)] == 0
    kms.down = True
    ring.advance(310.0, step=10.0, use=lambda: ring.use(key.record))
    found = told()
    assert found[series("lease.since_success", operation="unwrap", **where)] == pytest.approx(320.0)
    assert found[series("lease.grace_left", operation="unwrap", **where)] == pytest.approx(3_580.0)
    assert found[series("breaker.open", key_id=kms.key_id)] == 1
    ring.keyring.close()
    found = told()
    assert not found.get(series("breaker.open", key_id=kms.key_id))


@pytest.mark.parametrize("meter", METERS)
async def test_master_keys_are_named_as_the_settings_say(meter: Callable[..., Meter]) -> None:
    kms = FakeKms()
    hashed = hash_key_id(kms.key_id)

    async def named(setting: str, **options: Any) -> set[str]:
        observer, told = meter(**options)
        keyring = EnvelopeConfig(key=kms, metrics_key_ids=setting).keyring(observer=observer)  # type: ignore[arg-type]
        await keyring.sealing_key("default")
        keyring.close()
        names = {dict(where).get("key.id", "") for (name, where) in told() if name.endswith("kms.calls")}
        return names - {""}

    assert await named("plain") == {kms.key_id}
    assert await named("hashed") == {hashed}
    assert await named("plain", key_ids="hashed") == {hashed}
    assert await named("hashed", key_ids="plain") == {kms.key_id}


def test_a_runtime_that_adds_total_itself_is_told_so() -> None:
    meter = Names()
    TemporalMetrics(meter, counters_total_suffix=True)  # type: ignore[arg-type]
    assert "envelope_codec_kms_calls" in meter.names
    assert not any(name.endswith("_total") for name in meter.names)


class Names:
    """A meter that takes down the names of its instruments."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def create_counter(self, name: str, *_: Any) -> Any:
        self.names.add(name)
        return self

    create_histogram_float = create_gauge_float = create_counter
    add = record = set = None


def test_a_faulty_observer_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty:
        def on_event(self, event: Event) -> None:
            raise RuntimeError("no disk")

        def watch_keyring(self, keyring: Any) -> None:
            raise RuntimeError("no room")

    report(Faulty(), Event("seal", "ok", "default"))
    assert "the observer failed" in caplog.text
    caplog.clear()
    EnvelopeConfig(key=FakeKms()).keyring(observer=Faulty()).close()
    assert "no room" in caplog.text
