"""Metrics for Prometheus: requests and payloads, and what the keyring asks of the KMS.

With several workers, Prometheus' own files in ``PROMETHEUS_MULTIPROC_DIR`` put their numbers together.
"""

from __future__ import annotations

import os
from collections import Counter as Counts
from collections.abc import Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from envelope_codec.observe import Event, LogObserver
from envelope_codec.server.payloads.outcome import Outcome

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of one server. It is the `Observer` of its keyring."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        prefix = "envelope_codec"
        self._requests = Counter(
            f"{prefix}_server_requests", "Requests, by verb and status", ("verb", "status"), registry=registry
        )
        self._seconds = Histogram(
            f"{prefix}_server_request_seconds", "Their duration", ("verb",), buckets=_SECONDS, registry=registry
        )
        self._payloads = Counter(
            f"{prefix}_server_payloads",
            "Payloads, by verb and what became of them",
            ("verb", "outcome"),
            registry=registry,
        )
        self._calls = Counter(f"{prefix}_kms_calls", "KMS calls", ("operation", "outcome", "key_id"), registry=registry)
        self._latency = Histogram(
            f"{prefix}_kms_latency_seconds",
            "Their duration",
            ("operation", "outcome"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._limited = Counter(
            f"{prefix}_server_limited",
            "Requests, or records in them, that were refused since a budget was used up",
            ("budget",),
            registry=registry,
        )
        self._bytes = Gauge(
            f"{prefix}_server_body_bytes",
            "Bytes of requests under way, as they count against max_body_bytes",
            registry=registry,
            multiprocess_mode="sum",
        )
        self._waiting = Gauge(
            f"{prefix}_server_waiting",
            "Records that wait for their turn at a KMS",
            registry=registry,
            multiprocess_mode="sum",
        )
        self._active = Gauge(
            f"{prefix}_server_requests_under_way",
            "Requests that are being received or answered",
            registry=registry,
            multiprocess_mode="sum",
        )
        self._log = LogObserver()

    def limited(self, budget: str) -> None:
        """Count what was refused since this budget was used up."""
        self._limited.labels(budget).inc()

    def holds_bytes(self, change: int) -> None:
        """So many bytes more."""
        self._bytes.inc(change)

    def waits(self, change: int) -> None:
        """So many more records wait."""
        self._waiting.inc(change)

    def under_way(self, change: int) -> None:
        """So many more requests."""
        self._active.inc(change)

    def on_event(self, event: Event) -> None:
        """See `Observer.on_event`."""
        if event.operation in ("wrap", "unwrap"):
            self._calls.labels(event.operation, event.outcome, event.key_id).inc()
            self._latency.labels(event.operation, event.outcome).observe(event.seconds)
            self._log.on_event(event)
        # Payloads are counted by `answered`, and what is wrong with a caller's is in the audit trail.

    def answered(self, verb: str, status: int, seconds: float, outcomes: Sequence[Outcome]) -> None:
        """Count a request."""
        self._requests.labels(verb, str(status)).inc()
        self._seconds.labels(verb).observe(seconds)
        for kind, count in Counts(outcome.kind for outcome in outcomes).items():
            self._payloads.labels(verb, kind).inc(count)

    def exposition(self) -> bytes:
        """Them all, as text."""
        if FOLDER not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
