"""Observers that keep metrics: in Temporal's own metric meter, or in OpenTelemetry's.

Both keep the same three instruments:

- ``envelope_codec_kms_calls``: calls of a KMS, by ``operation`` (wrap, unwrap), ``outcome`` and ``key_id``;
- ``envelope_codec_kms_latency``: how long they took, in seconds, by ``operation`` and ``outcome``;
- ``envelope_codec_payloads``: payloads, by ``operation`` (seal, open, legacy, pass), ``outcome`` and ``namespace``.
  Those of ``legacy`` were opened by a legacy codec, those that ``pass`` came unencrypted.

``outcome`` is ``ok`` or the class name of an error. Whatever is observed is logged as well, as without metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from envelope_codec.observe import Event, LogObserver

if TYPE_CHECKING:
    import opentelemetry.metrics
    import temporalio.common

_CALLS = "envelope_codec_kms_calls"
_LATENCY = "envelope_codec_kms_latency"
_PAYLOADS = "envelope_codec_payloads"

Attributes = dict[str, str]


class _Metrics:
    def __init__(
        self,
        count_calls: Callable[[int, Attributes], None],
        record_latency: Callable[[float, Attributes], None],
        count_payloads: Callable[[int, Attributes], None],
    ) -> None:
        self._count_calls = count_calls
        self._record_latency = record_latency
        self._count_payloads = count_payloads
        self._log = LogObserver()

    def on_event(self, event: Event) -> None:
        """See `Observer.on_event`."""
        what = {"operation": event.operation, "outcome": event.outcome}
        if event.operation in ("wrap", "unwrap"):
            self._count_calls(1, {**what, "key_id": event.key_id})
            self._record_latency(event.seconds, what)
        else:
            self._count_payloads(event.payloads, {**what, "namespace": event.namespace})
        self._log.on_event(event)


class TemporalMetrics(_Metrics):
    """Keeps metrics in a meter of Temporal's SDK, such as ``runtime.metric_meter``."""

    def __init__(self, meter: temporalio.common.MetricMeter) -> None:
        calls = meter.create_counter(_CALLS, "KMS calls")
        latency = meter.create_histogram_float(_LATENCY, "Duration of KMS calls", "s")
        payloads = meter.create_counter(_PAYLOADS, "Payloads sealed, opened and passed through")
        super().__init__(calls.add, latency.record, payloads.add)


class OpenTelemetryMetrics(_Metrics):
    """Keeps metrics in a meter of OpenTelemetry, such as ``opentelemetry.metrics.get_meter("envelope_codec")``."""

    def __init__(self, meter: opentelemetry.metrics.Meter) -> None:
        calls = meter.create_counter(_CALLS, description="KMS calls")
        latency = meter.create_histogram(_LATENCY, "s", "Duration of KMS calls")
        payloads = meter.create_counter(_PAYLOADS, description="Payloads sealed, opened and passed through")
        super().__init__(calls.add, latency.record, payloads.add)
