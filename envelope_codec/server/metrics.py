"""Metrics for Prometheus: requests, payloads, and how the keyring fares.

Names and meanings are those of `envelope_codec.metrics`. With several workers, the files of
``PROMETHEUS_MULTIPROC_DIR`` put their numbers together.
"""

from __future__ import annotations

import os
import re
from collections import Counter as Counts
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from envelope_codec.metrics.instruments import INSTRUMENTS, SECONDS, Instrument, label_name
from envelope_codec.metrics.labels import OTHER, KeyIds, KnownValues, Labels
from envelope_codec.metrics.measurements import Attributes, measure
from envelope_codec.metrics.samples import Series
from envelope_codec.metrics.watch import GaugeTimer, Watch, Watched
from envelope_codec.observe import Event, LogObserver
from envelope_codec.server.payloads.outcome import OPENED, PASSED, SEALED, Outcome

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = CONTENT_TYPE_LATEST

_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE"})
_OTHER_METHOD = "_OTHER"  # as OpenTelemetry's conventions have it
_OPERATIONS = {OPENED: "open", PASSED: "pass"}
_HTTP_ATTRIBUTES = ("http.request.method", "http.route", "http.response.status_code", "error.type")
_TOGETHER = {  # of several workers; of other gauges, the greatest value counts
    "envelope_codec.keys.cached": "livesum",
    "envelope_codec.keystore.queued": "livesum",
    "envelope_codec.sealing_key.recipients": "livemin",
}
_LIVE_FILE = re.compile(r"gauge_live\w+_(\d+)\.db")


class Metrics:
    """The metrics of one server. They are the `Observer` of its keyring.

    Callers choose paths, methods and namespaces, and write what they like into envelopes. So each label has values that
    are known beforehand, and ``other``.

    Args:
        namespaces: that the settings name.
    """

    def __init__(self, namespaces: Iterable[str] = ()) -> None:
        self._registry = CollectorRegistry()
        self._labels = Labels(namespaces=KnownValues(("", *namespaces), most=0))
        self._kept = {instrument.name: self._make(instrument) for instrument in INSTRUMENTS}
        self._requests = Histogram(
            "http_server_request_duration_seconds",
            "Duration of HTTP requests",
            [label_name(name) for name in _HTTP_ATTRIBUTES],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._bytes = self._gauge(
            "server_body_bytes", "Bytes of requests under way, as they count against max_body_bytes"
        )
        self._waiting = self._gauge("server_waiting", "Records that wait for their turn at a KMS")
        self._under_way = self._gauge("server_requests_under_way", "Requests that are being received or answered")
        self._watch = Watch(self._labels)
        self._timer = GaugeTimer(self._watch, self._set_gauge)
        self._log = LogObserver()

    def count_limited(self, budget: str) -> None:
        """Count a request, or a record, that was refused because ``budget`` was used up."""
        self._add("envelope_codec.refused", 1, {"reason": budget})

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

    def count_request(self, method: str, route: str | None, status: int, seconds: float, error: str = "") -> None:
        """Count a request that was answered.

        Args:
            method: of HTTP, as the client wrote it.
            route: the template of its path; None where nothing is there.
            status: that it was sent.
            seconds: until the answer was ready.
            error: code of what failed at the server; ``""`` for what is the client's own fault.
        """
        known = method if method in _METHODS else _OTHER_METHOD
        self._requests.labels(known, OTHER if route is None else route, str(status), error).observe(seconds)

    def count_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Count payloads that were to be opened. Those that were sealed are counted as the codec tells of them."""
        for (kind, given), count in Counts((outcome.kind, outcome.namespace) for outcome in outcomes).items():
            if kind == SEALED:
                continue
            what = {"operation": _OPERATIONS.get(kind, "open"), "namespace": self._labels.namespace(given)}
            if kind not in _OPERATIONS:
                what["error.type"] = kind
            self._add("envelope_codec.payloads", count, what)

    def name_keys(self, key_ids: KeyIds) -> None:
        """Name master keys like this."""
        self._labels.name_keys(key_ids)

    def watch_keyring(self, keyring: Watched) -> None:
        """Set gauges from the status of ``keyring``."""
        self._watch.add(keyring)

    def on_event(self, event: Event) -> None:
        """Count what ``event`` tells, payloads aside that were to be opened: `count_outcomes` counts these.

        Only calls of a KMS are logged: the audit trail says what is wrong with payloads.
        """
        if event.operation in ("wrap", "unwrap"):
            self._log.on_event(event)
        if event.operation in ("open", "pass", "legacy"):
            event = event._replace(namespace="")  # one call opens payloads of several
        for instrument, value, attributes in measure(event, self._labels):
            if instrument != "envelope_codec.payloads" or event.operation == "seal":
                self._add(instrument, value, attributes)
        self._timer.begin()

    def render(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        self._timer.update()
        if FOLDER not in os.environ:
            return generate_latest(self._registry)
        _forget_ended_workers(os.environ[FOLDER])
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)

    def _add(self, instrument: str, value: float, attributes: Attributes) -> None:
        kept = _with_labels(self._kept[instrument], attributes)
        if isinstance(kept, Histogram):
            kept.observe(value)
        elif isinstance(kept, Counter):
            kept.inc(value)

    def _set_gauge(self, series: Series, value: float) -> None:
        gauge = _with_labels(self._kept[series[0]], dict(series[1]))
        if isinstance(gauge, Gauge):
            gauge.set(value)

    def _make(self, instrument: Instrument) -> MetricWrapperBase:
        name, labels = instrument.prometheus, [label_name(attribute) for attribute in instrument.attributes]
        if instrument.kind == "histogram":
            return Histogram(name, instrument.meaning, labels, buckets=SECONDS, registry=self._registry)
        if instrument.kind == "counter":
            return Counter(name, instrument.meaning, labels, registry=self._registry)
        mode = _TOGETHER.get(instrument.name, "livemax")
        return Gauge(name, instrument.meaning, labels, registry=self._registry, multiprocess_mode=mode)  # type: ignore[arg-type]

    def _gauge(self, name: str, description: str) -> Gauge:
        return Gauge(f"envelope_codec_{name}", description, registry=self._registry, multiprocess_mode="livesum")


def _with_labels(kept: MetricWrapperBase, attributes: Attributes) -> MetricWrapperBase:
    """Return the series of ``kept`` with these attributes. A label that has no value is empty: as if it were absent."""
    given = {label_name(name): value for name, value in attributes.items()}
    names = kept._labelnames
    return kept.labels(*(given.get(name, "") for name in names)) if names else kept


def _forget_ended_workers(folder: str) -> None:
    """Remove the gauges of workers that have ended, which say nothing of now."""
    for file in Path(folder).iterdir():
        found = _LIVE_FILE.fullmatch(file.name)
        if found and not _is_alive(int(found[1])):
            mark_process_dead(int(found[1]), folder)  # type: ignore[no-untyped-call]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
