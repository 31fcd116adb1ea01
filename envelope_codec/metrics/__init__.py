"""Observers that keep metrics and spans: in Temporal's own metric meter, and in OpenTelemetry's.

`INSTRUMENTS` lists what is kept, and ``docs/metrics.md`` explains it. Every event is logged as well, as it is without
metrics.
"""

from envelope_codec.metrics.instruments import HISTOGRAM_BUCKETS, INSTRUMENTS, Instrument
from envelope_codec.metrics.labels import hash_key_id
from envelope_codec.metrics.open_telemetry import OpenTelemetryMetrics
from envelope_codec.metrics.spans import OpenTelemetrySpans
from envelope_codec.metrics.temporal_meter import TemporalMetrics

__all__ = [
    "HISTOGRAM_BUCKETS",
    "INSTRUMENTS",
    "Instrument",
    "OpenTelemetryMetrics",
    "OpenTelemetrySpans",
    "TemporalMetrics",
    "hash_key_id",
]
