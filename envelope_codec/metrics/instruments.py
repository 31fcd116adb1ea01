"""The instruments: what is measured, in which unit, and by which attributes."""

from __future__ import annotations

from typing import Literal, NamedTuple

_SUFFIXES = {"s": "seconds", "By": "bytes"}

Kind = Literal["counter", "histogram", "gauge"]


class Instrument(NamedTuple):
    """One instrument.

    Attributes:
        name: as OpenTelemetry spells it.
        kind: what it is.
        unit: in UCUM, as OpenTelemetry has it; ``""`` for none.
        attributes: names of those that a value may have. ``error.type`` is there only where there was an error.
        meaning: for people, in one sentence.
    """

    name: str
    kind: Kind
    unit: str
    attributes: tuple[str, ...]
    meaning: str

    @property
    def prometheus(self) -> str:
        """Its name as Prometheus spells it: with the unit, and of a counter with ``_total``, at the end."""
        name, suffix = self.name.replace(".", "_"), _SUFFIXES.get(self.unit, "")
        if suffix and suffix not in name.split("_"):
            name = f"{name}_{suffix}"
        return f"{name}_total" if self.kind == "counter" else name


def label_name(attribute: str) -> str:
    """Return the name of ``attribute`` as Prometheus spells it."""
    return attribute.replace(".", "_")


_KEY = ("namespace", "key.id")
_LEASE = ("operation", *_KEY)

INSTRUMENTS: tuple[Instrument, ...] = (
    Instrument(
        "envelope_codec.payloads",
        "counter",
        "{payload}",
        ("operation", "namespace", "error.type"),
        "payloads that were sealed, opened, opened by a legacy codec, or passed as they were",
    ),
    Instrument(
        "envelope_codec.payload.bytes",
        "counter",
        "By",
        ("operation", "namespace"),
        "their bytes as they came: of those to seal in clear, of those to open encrypted",
    ),
    Instrument(
        "envelope_codec.codec.duration",
        "histogram",
        "s",
        ("operation", "namespace", "error.type"),
        "one call of `encode`, or one of `decode` that had an envelope in it, with all its waiting",
    ),
    Instrument(
        "envelope_codec.kms.duration",
        "histogram",
        "s",
        ("operation", "provider", "error.type"),
        "one call of a KMS",
    ),
    Instrument(
        "envelope_codec.kms.calls",
        "counter",
        "{call}",
        ("operation", "provider", "key.id", "error.type"),
        "calls of a KMS",
    ),
    Instrument("envelope_codec.keys.cached", "gauge", "{key}", (), "unwrapped wrapping keys that are kept for opening"),
    Instrument(
        "envelope_codec.sealing_key.age",
        "gauge",
        "s",
        _KEY,
        "time since the wrapping key that seals now was made, of several the oldest",
    ),
    Instrument(
        "envelope_codec.sealing_key.uses", "gauge", "{payload}", _KEY, "payloads that it has sealed in this process"
    ),
    Instrument(
        "envelope_codec.sealing_key.recipients",
        "gauge",
        "{key}",
        _KEY,
        "master keys that have wrapped it, of several keys the fewest",
    ),
    Instrument(
        "envelope_codec.sealing_key.recipients_lacking",
        "gauge",
        "{key}",
        _KEY,
        "master keys that were to wrap it, and did not",
    ),
    Instrument(
        "envelope_codec.lease.since_success",
        "gauge",
        "s",
        _LEASE,
        "time since the call was sent by whose success keys are used; gone or 0 while nothing uses them",
    ),
    Instrument(
        "envelope_codec.lease.grace_left",
        "gauge",
        "s",
        _LEASE,
        "time until keys stop serving, while grace is in use; else 0",
    ),
    Instrument(
        "envelope_codec.breaker.open",
        "gauge",
        "",
        ("key.id",),
        "1 if the master key did not answer when it was last asked, else 0",
    ),
    Instrument(
        "envelope_codec.cache.lookups",
        "counter",
        "{lookup}",
        ("cache", "result"),
        "lookups of a key to open with (`opening`), and then of a remembered refusal (`refusal`)",
    ),
    Instrument(
        "envelope_codec.refused",
        "counter",
        "{refusal}",
        ("reason",),
        "requests and records that were refused by a budget before any work",
    ),
    Instrument(
        "envelope_codec.store.duration",
        "histogram",
        "s",
        ("operation", "store", "error.type"),
        "one call of a datastore",
    ),
    Instrument(
        "envelope_codec.store.calls",
        "counter",
        "{call}",
        ("operation", "store", "error.type"),
        "calls of a datastore",
    ),
    Instrument(
        "envelope_codec.keystore.duration",
        "histogram",
        "s",
        ("operation", "error.type"),
        "one call of a keystore",
    ),
    Instrument(
        "envelope_codec.keystore.calls",
        "counter",
        "{call}",
        ("operation", "error.type"),
        "calls of a keystore, and what was found wrong with their answers",
    ),
    Instrument(
        "envelope_codec.keystore.queued",
        "gauge",
        "{record}",
        (),
        "records that wait to be published, while payloads are sealed under them",
    ),
    Instrument("envelope_codec.keystore.lag", "gauge", "s", (), "how long the one has waited that has waited longest"),
    Instrument(
        "envelope_codec.compression.bytes_before",
        "counter",
        "By",
        ("namespace",),
        "bytes of payloads before compression, where `compression` is on",
    ),
    Instrument(
        "envelope_codec.compression.bytes_after",
        "counter",
        "By",
        ("namespace",),
        "bytes of the same as they were encrypted",
    ),
)
"""Every instrument that observers keep."""

BY_NAME = {instrument.name: instrument for instrument in INSTRUMENTS}

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histograms' buckets, in seconds: from a codec call in memory to the longest wait for a KMS."""

HISTOGRAM_BUCKETS: dict[str, list[float]] = {
    instrument.prometheus: list(SECONDS) for instrument in INSTRUMENTS if instrument.kind == "histogram"
}
"""For ``PrometheusConfig(histogram_bucket_overrides=…)`` of Temporal's SDK, whose own bounds are for milliseconds."""
