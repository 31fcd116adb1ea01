"""The spans of calls: whose children they are, and what is in them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeCodec, EnvelopeConfig, KeyDenied
from envelope_codec.keys.clock import SystemClock
from envelope_codec.metrics import OpenTelemetrySpans, hash_key_id
from envelope_codec.observe import Event
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import Events, Ring, wrapped_by


class Traces:
    """A tracer, and the spans that it has made."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer: Tracer = provider.get_tracer("test")

    def made(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def __iter__(self) -> Iterator[ReadableSpan]:
        return iter(self._exporter.get_finished_spans())


async def test_a_kms_call_is_a_child_of_the_callers_span_though_another_thread_makes_it() -> None:
    traces = Traces()
    kms = FakeKms()
    keyring = EnvelopeConfig(key=kms).keyring(observer=OpenTelemetrySpans(traces.tracer))
    with traces.tracer.start_as_current_span("caller") as caller:
        await keyring.sealing_key("default")
    [wrap] = traces.made("kms/wrap")
    [unwrap] = traces.made("kms/unwrap")
    for span in (wrap, unwrap):
        assert span.parent is not None
        assert span.parent.span_id == caller.get_span_context().span_id
        assert span.kind is SpanKind.CLIENT
        assert span.status.status_code is StatusCode.UNSET
        assert (span.end_time or 0) > (span.start_time or 0)
    assert dict(wrap.attributes or {}) == {
        "rpc.system": "testing",
        "rpc.service": "kms",
        "rpc.method": "wrap",
        "envelope_codec.key.id": kms.key_id,
        "envelope_codec.namespace": "default",
    }
    keyring.close()


async def test_callers_who_share_a_call_share_its_span_under_the_first_of_them() -> None:
    traces = Traces()
    kms = FakeKms()
    keyring = EnvelopeConfig(key=kms).keyring(observer=OpenTelemetrySpans(traces.tracer))
    record, _ = wrapped_by(kms)

    async def call(number: int) -> int:
        with traces.tracer.start_as_current_span(f"caller {number}") as span:
            await keyring.opening_key(record)
            return span.get_span_context().span_id

    ids = await asyncio.gather(*(call(number) for number in range(5)))
    [unwrap] = traces.made("kms/unwrap")
    assert unwrap.parent is not None
    assert unwrap.parent.span_id == ids[0]
    keyring.close()


async def test_a_failed_call_has_its_class_and_no_words_of_the_provider() -> None:
    traces = Traces()
    kms = FakeKms()
    kms.fail_next(KeyDenied("words of a provider", operation="wrap"))
    ring = Ring(kms, observer=OpenTelemetrySpans(traces.tracer, Events(), key_ids="hashed"))
    with pytest.raises(KeyDenied):
        await ring.seal()
    [wrap] = traces.made("kms/wrap")
    assert wrap.status.status_code is StatusCode.ERROR
    assert wrap.attributes is not None
    assert wrap.attributes["error.type"] == "KeyDenied"
    assert wrap.attributes["envelope_codec.key.id"] == hash_key_id(kms.key_id)
    assert not wrap.events
    assert "words" not in wrap.to_json()
    assert kms.key_id not in wrap.to_json()


async def test_payloads_have_no_spans_and_no_content_is_in_any() -> None:
    traces = Traces()
    kms = FakeKms()
    events = Events()
    spans = OpenTelemetrySpans(traces.tracer, events)
    codec = EnvelopeCodec(EnvelopeConfig(key=kms), observer=spans)
    sealed = await codec.encode([Payload(data=b"sentinel")] * 50)
    await codec.decode(sealed)
    assert sorted(span.name for span in traces) == ["kms/unwrap", "kms/wrap"]
    key = codec.keyring.try_sealing_key("default")
    assert key is not None
    for span in traces:
        assert "sentinel" not in span.to_json()
        assert key.key.hex() not in span.to_json()
    assert events.of("seal") == ["ok"]  # the other observer gets everything
    codec.close()
    assert not OpenTelemetrySpans(traces.tracer).wants_successes


def test_calls_of_stores_and_keystores_have_spans_and_what_is_found_in_answers_has_none() -> None:
    traces = Traces()
    spans = OpenTelemetrySpans(traces.tracer, Events())
    spans.on_event(Event("put", "ok", "default", "my-store", 0.5))
    spans.on_event(Event("publish", "StoreUnavailable", "default", seconds=0.5, reason="words"))
    spans.on_event(Event("lookup", "MalformedRow", "default", reason="words"))
    put, publish = traces
    assert put.name == "put my-store"
    assert (put.end_time or 0) - (put.start_time or 0) == 500_000_000
    assert put.attributes is not None
    assert put.attributes["db.operation.name"] == "put"
    assert publish.name == "publish keystore"
    assert publish.status.status_code is StatusCode.ERROR
    assert "words" not in publish.to_json()


async def test_what_is_due_later_belongs_to_no_caller() -> None:
    """Or a renewal would be a child of a span that ended minutes ago, whose context it would keep in memory."""
    traces = Traces()
    clock = SystemClock()
    fired = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fire() -> None:
        traces.tracer.start_span("later").end()
        loop.call_soon_threadsafe(fired.set)

    with traces.tracer.start_as_current_span("caller"):
        clock.call_later(0.0, fire)
    await asyncio.wait_for(fired.wait(), 60.0)
    [later] = traces.made("later")
    assert later.parent is None
    clock.close()
