"""Metrics for Prometheus: requests, payloads, and the KMS calls of the keyring.

With several workers, the files of ``PROMETHEUS_MULTIPROC_DIR`` put their numbers together.
"""

from __future__ import annotations

import os
from collections import Counter as Counts
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from envelope_codec.observe import Event, LogObserver
from envelope_codec.server.payloads.outcome import Outcome

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The counters of one server. They are the `Observer` of its keyring."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("server_requests", "Requests, by verb and status", "verb", "status")
        self._seconds = self._histogram("server_request_seconds", "Their duration", "verb")
        self._payloads = self._counter(
            "server_payloads", "Payloads, by verb and what became of them", "verb", "outcome"
        )
        self._calls = self._counter("kms_calls", "KMS calls", "operation", "outcome", "key_id")
        self._latency = self._histogram("kms_latency_seconds", "Their duration", "operation", "outcome")
        self._limited = self._counter(
            "server_limited", "Requests, or records in them, that were refused since a budget was used up", "budget"
        )
        self._bytes = self._gauge(
            "server_body_bytes", "Bytes of requests under way, as they count against max_body_bytes"
        )
        self._waiting = self._gauge("server_waiting", "Records that wait for their turn at a KMS")
        self._under_way = self._gauge("server_requests_under_way", "Requests that are being received or answered")
        self._log = LogObserver()

    def count_limited(self, budget: str) -> None:
        """Count a request, or a record, that was refused because ``budget`` was used up."""
        self._limited.labels(budget).inc()

    def add_body_bytes(self, change: int) -> None:
        """Add to the bytes of requests under way, or subtract from them."""
        self._bytes.inc(change)

    def add_waiting(self, change: int) -> None:
        """Add to the records that wait for a KMS, or subtract from them."""
        self._waiting.inc(change)

    @contextmanager
    def count_under_way(self) -> Iterator[None]:
        """Count a request as under way while the block runs."""
        with self._under_way.track_inprogress():
            yield

    def count_answer(self, verb: str, status: int, seconds: float, outcomes: Sequence[Outcome]) -> None:
        """Count a request that was answered, and its payloads."""
        self._requests.labels(verb, str(status)).inc()
        self._seconds.labels(verb).observe(seconds)
        for kind, count in Counts(outcome.kind for outcome in outcomes).items():
            self._payloads.labels(verb, kind).inc(count)

    def on_event(self, event: Event) -> None:
        """Count a KMS call.

        Other events are left out: `count_answer` counts payloads, and the audit trail says what is wrong with them.
        """
        if event.operation in ("wrap", "unwrap"):
            self._calls.labels(event.operation, event.outcome, event.key_id).inc()
            self._latency.labels(event.operation, event.outcome).observe(event.seconds)
            self._log.on_event(event)

    def render(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        if FOLDER not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"envelope_codec_{name}", description, labels, registry=self._registry)

    def _histogram(self, name: str, description: str, *labels: str) -> Histogram:
        return Histogram(f"envelope_codec_{name}", description, labels, buckets=_SECONDS, registry=self._registry)

    def _gauge(self, name: str, description: str) -> Gauge:
        return Gauge(f"envelope_codec_{name}", description, registry=self._registry, multiprocess_mode="sum")
