"""OpenTelemetry, as Temporal's SDK has it: its headers are sealed, and spans find each other across them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from devstack import TemporalServer
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext
from temporalio.client import Client
from temporalio.contrib.opentelemetry import OpenTelemetryPlugin, TracingInterceptor, create_tracer_provider
from temporalio.worker import Worker

from envelope_codec import EnvelopePlugin
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.testing import FakeKms
from tests.support.server_records import events
from tests.support.small_workflows import Delegate, Work

HEADER = "_tracer-data"
NAMES = {"StartWorkflow:Delegate", "RunWorkflow:Delegate", "StartActivity:echo", "RunActivity:echo"}


@pytest.fixture(scope="module")
def everything_traced() -> InMemorySpanExporter:
    """Where the process's spans go. OpenTelemetry can be told only once, so this stays for later tests."""
    exporter = InMemorySpanExporter()
    provider = create_tracer_provider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    assert trace.get_tracer_provider() is provider
    return exporter


@pytest.fixture
def spans(everything_traced: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    everything_traced.clear()
    yield everything_traced
    everything_traced.clear()


def identity(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context


def connected(exporter: InMemorySpanExporter) -> dict[str, list[str]]:
    """Each span, and those above it, from the root down. All are of one trace."""
    spans = {identity(span).span_id: span for span in exporter.get_finished_spans()}
    assert len({identity(span).trace_id for span in spans.values()}) == 1

    def path(span: ReadableSpan) -> list[str]:
        return [*(path(spans[span.parent.span_id]) if span.parent else []), span.name]

    return {span.name: path(span) for span in spans.values()}


async def delegate(client: Client, workflow_id: str, spans: InMemorySpanExporter) -> dict[str, list[str]]:
    spans.clear()
    async with Worker(client, task_queue=workflow_id, workflows=[Delegate], activities=[Work().echo]):
        run = client.execute_workflow(
            Delegate.run, args=["echo", workflow_id, "a text"], id=workflow_id, task_queue=workflow_id
        )
        assert await run == "echo of a text"
    return connected(spans)


@pytest.mark.parametrize("how", ["interceptor", "plugin before", "plugin after"])
async def test_spans_connect_as_without_encryption_and_their_headers_are_sealed(
    how: str, temporal_server: TemporalServer, plain: Client, name: str, kms: FakeKms, spans: InMemorySpanExporter
) -> None:
    theirs = [] if how == "interceptor" else [OpenTelemetryPlugin(add_temporal_spans=True)]
    interceptors = [] if theirs else [TracingInterceptor()]
    clear = await Client.connect(temporal_server.address, interceptors=interceptors, plugins=theirs)
    expected = await delegate(clear, f"{name} in clear", spans)
    assert set(expected) >= NAMES

    with EnvelopePlugin(kms, startup_jitter=0) as ours:
        client = await Client.connect(
            temporal_server.address,
            interceptors=interceptors,
            plugins=[ours, *theirs] if how == "plugin after" else [*theirs, ours],
        )
        assert await delegate(client, name, spans) == expected
    trace_id = f"{identity(spans.get_finished_spans()[0]).trace_id:032x}".encode()
    carried = 0
    for event in await events(plain, name):
        assert trace_id not in event.SerializeToString()
        for attributes in (
            event.workflow_execution_started_event_attributes,
            event.activity_task_scheduled_event_attributes,
        ):
            if HEADER in attributes.header.fields:
                assert is_envelope(attributes.header.fields[HEADER])
                carried += 1
    assert carried == 2
