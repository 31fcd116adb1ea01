"""Observers that keep metrics, in Temporal's own metric meter or in OpenTelemetry's.

Both keep the same instruments:

- ``envelope_codec_kms_calls``: calls of a KMS, by ``operation`` (wrap, unwrap), ``outcome`` and ``key_id``;
- ``envelope_codec_kms_latency``: how long these calls took, in seconds, by ``operation`` and ``outcome``;
- ``envelope_codec_payloads``: payloads, by ``operation`` (seal, open, legacy, pass), ``outcome`` and ``namespace``.
  ``legacy`` had been sealed by a legacy codec or Temporal's proxy, ``pass`` came unencrypted and stayed so;
- ``envelope_codec_compression_bytes_before``, ``envelope_codec_compression_bytes_after``: bytes of payloads before and
  after compression, by ``namespace``. Their ratio is what compression gains. Kept where ``compression`` is on;
- ``envelope_codec_recipients``: a gauge: how many master keys have wrapped the key that seals now, by ``namespace`` and
  by the ``key_id`` of the setting ``key``. Kept where there are backup keys;
- ``envelope_codec_recipients_lacking``: a gauge: how many more master keys were to wrap that key, by the same;
- ``envelope_codec_store_calls``: calls of a datastore, by ``operation`` (put, get), ``outcome`` and ``store``;
- ``envelope_codec_store_latency``: how long these calls took, in seconds, by the same;
- ``envelope_codec_keystore_calls``: calls of a keystore, by ``operation`` (lookup, publish, share) and
  ``outcome``; ``MalformedRow`` counts rows that are none, ``NotAdopted`` and ``NotShared`` wrapping keys that are
  not shared;
- ``envelope_codec_keystore_latency``: how long these calls took, in seconds, by the same;
- ``envelope_codec_keystore_queued``: a gauge: how many records wait to be published. Kept once one had to wait.

``outcome`` is ``ok`` or the class name of an error. Every event is logged as well, as it is without metrics.
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
_RECIPIENTS = "envelope_codec_recipients"
_LACKING = "envelope_codec_recipients_lacking"
_RECIPIENTS_ARE = "Master keys that have wrapped the key that seals now"
_LACKING_ARE = "Master keys that were to wrap the key that seals now, and did not"
_BYTES_BEFORE = "envelope_codec_compression_bytes_before"
_BYTES_AFTER = "envelope_codec_compression_bytes_after"
_BYTES_BEFORE_ARE = "Bytes of payloads before compression"
_BYTES_AFTER_ARE = "Bytes of payloads after compression, as they were encrypted"
_STORE_CALLS = "envelope_codec_store_calls"
_STORE_LATENCY = "envelope_codec_store_latency"
_KEYSTORE_CALLS = "envelope_codec_keystore_calls"
_KEYSTORE_LATENCY = "envelope_codec_keystore_latency"
_QUEUED = "envelope_codec_keystore_queued"
_QUEUED_ARE = "Records of wrapping keys in use that the keystore does not have yet"

Attributes = dict[str, str]


class _Metrics:
    def __init__(
        self,
        count_calls: Callable[[int, Attributes], None],
        record_latency: Callable[[float, Attributes], None],
        count_payloads: Callable[[int, Attributes], None],
        count_store_calls: Callable[[int, Attributes], None],
        record_store_latency: Callable[[float, Attributes], None],
        set_recipients: Callable[[int, Attributes], None],
        set_lacking: Callable[[int, Attributes], None],
        count_bytes_before: Callable[[int, Attributes], None],
        count_bytes_after: Callable[[int, Attributes], None],
        count_keystore_calls: Callable[[int, Attributes], None],
        record_keystore_latency: Callable[[float, Attributes], None],
        set_queued: Callable[[int, Attributes], None],
    ) -> None:
        self._count_calls = count_calls
        self._record_latency = record_latency
        self._count_payloads = count_payloads
        self._count_store_calls = count_store_calls
        self._record_store_latency = record_store_latency
        self._set_recipients = set_recipients
        self._set_lacking = set_lacking
        self._count_bytes_before = count_bytes_before
        self._count_bytes_after = count_bytes_after
        self._count_keystore_calls = count_keystore_calls
        self._record_keystore_latency = record_keystore_latency
        self._set_queued = set_queued
        self._log = LogObserver()

    def on_event(self, event: Event) -> None:
        """Count ``event`` in the instruments, and log it as `LogObserver` does."""
        what = {"operation": event.operation, "outcome": event.outcome}
        if event.operation in ("wrap", "unwrap"):
            self._count_calls(1, {**what, "key_id": event.key_id})
            self._record_latency(event.seconds, what)
        elif event.operation in ("put", "get"):
            self._count_store_calls(1, {**what, "store": event.key_id})
            self._record_store_latency(event.seconds, {**what, "store": event.key_id})
        elif event.operation in ("lookup", "publish", "share"):
            self._count_keystore_calls(1, what)
            self._record_keystore_latency(event.seconds, what)
        elif event.operation == "queue":
            self._set_queued(event.queued, {})
        elif event.operation == "key":
            where = {"namespace": event.namespace, "key_id": event.key_id}
            self._set_recipients(event.recipients, where)
            self._set_lacking(event.lacking, where)
        elif event.operation == "compress":
            self._count_bytes_before(event.bytes_before, {"namespace": event.namespace})
            self._count_bytes_after(event.bytes_after, {"namespace": event.namespace})
        else:
            self._count_payloads(event.payloads, {**what, "namespace": event.namespace})
        self._log.on_event(event)


class TemporalMetrics(_Metrics):
    """An observer that keeps metrics in a meter of Temporal's SDK, such as ``runtime.metric_meter``."""

    def __init__(self, meter: temporalio.common.MetricMeter) -> None:
        calls = meter.create_counter(_CALLS, "KMS calls")
        latency = meter.create_histogram_float(_LATENCY, "Duration of KMS calls", "s")
        payloads = meter.create_counter(_PAYLOADS, "Payloads sealed, opened and passed through")
        store_calls = meter.create_counter(_STORE_CALLS, "Calls of a datastore")
        store_latency = meter.create_histogram_float(_STORE_LATENCY, "Duration of calls of a datastore", "s")
        recipients = meter.create_gauge(_RECIPIENTS, _RECIPIENTS_ARE)
        lacking = meter.create_gauge(_LACKING, _LACKING_ARE)
        before = meter.create_counter(_BYTES_BEFORE, _BYTES_BEFORE_ARE, "By")
        after = meter.create_counter(_BYTES_AFTER, _BYTES_AFTER_ARE, "By")
        keystore_calls = meter.create_counter(_KEYSTORE_CALLS, "Calls of a keystore")
        keystore_latency = meter.create_histogram_float(_KEYSTORE_LATENCY, "Duration of calls of a keystore", "s")
        queued = meter.create_gauge(_QUEUED, _QUEUED_ARE)
        super().__init__(
            calls.add,
            latency.record,
            payloads.add,
            store_calls.add,
            store_latency.record,
            recipients.set,
            lacking.set,
            before.add,
            after.add,
            keystore_calls.add,
            keystore_latency.record,
            queued.set,
        )


class OpenTelemetryMetrics(_Metrics):
    """An observer that keeps metrics in a meter of OpenTelemetry.

    Such as ``opentelemetry.metrics.get_meter("envelope_codec")``.
    """

    def __init__(self, meter: opentelemetry.metrics.Meter) -> None:
        calls = meter.create_counter(_CALLS, description="KMS calls")
        latency = meter.create_histogram(_LATENCY, "s", "Duration of KMS calls")
        payloads = meter.create_counter(_PAYLOADS, description="Payloads sealed, opened and passed through")
        store_calls = meter.create_counter(_STORE_CALLS, description="Calls of a datastore")
        store_latency = meter.create_histogram(_STORE_LATENCY, "s", "Duration of calls of a datastore")
        recipients = meter.create_gauge(_RECIPIENTS, description=_RECIPIENTS_ARE)
        lacking = meter.create_gauge(_LACKING, description=_LACKING_ARE)
        before = meter.create_counter(_BYTES_BEFORE, "By", _BYTES_BEFORE_ARE)
        after = meter.create_counter(_BYTES_AFTER, "By", _BYTES_AFTER_ARE)
        keystore_calls = meter.create_counter(_KEYSTORE_CALLS, description="Calls of a keystore")
        keystore_latency = meter.create_histogram(_KEYSTORE_LATENCY, "s", "Duration of calls of a keystore")
        queued = meter.create_gauge(_QUEUED, description=_QUEUED_ARE)
        super().__init__(
            calls.add,
            latency.record,
            payloads.add,
            store_calls.add,
            store_latency.record,
            recipients.set,
            lacking.set,
            before.add,
            after.add,
            keystore_calls.add,
            keystore_latency.record,
            queued.set,
        )
