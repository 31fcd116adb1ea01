"""Measurements: what an event adds to counters and histograms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from envelope_codec.metrics.labels import Labels
from envelope_codec.observe import Event

Attributes = dict[str, str]

_KMS = frozenset({"wrap", "unwrap"})
_STORE = frozenset({"put", "get"})
_KEYSTORE = frozenset({"lookup", "publish", "share"})
_CODEC = frozenset({"seal", "open"})
_PAYLOADS = _CODEC | {"legacy", "pass"}


class Measurement(NamedTuple):
    """A number for one instrument.

    Attributes:
        instrument: its name, as OpenTelemetry spells it.
        value: what a counter adds, or a histogram records.
        attributes: by their names, as OpenTelemetry spells them.
    """

    instrument: str
    value: float
    attributes: Attributes


def measure(event: Event, labels: Labels) -> Iterator[Measurement]:
    """Yield what ``event`` adds to counters and histograms."""
    operation = event.operation
    if operation in _PAYLOADS:
        yield from _measure_payloads(event, labels)
    elif operation in _KMS:
        what = _outcome(event, operation=operation, provider=event.provider)
        yield Measurement("envelope_codec.kms.duration", event.seconds, what)
        yield Measurement("envelope_codec.kms.calls", 1, {**what, "key.id": labels.key_id(event.key_id)})
    elif operation in _STORE:
        yield from _measure_call("store", event, _outcome(event, operation=operation, store=labels.store(event.key_id)))
    elif operation in _KEYSTORE:
        yield from _measure_call("keystore", event, _outcome(event, operation=operation))
    else:
        yield from _measure_rest(event, labels)


def _measure_payloads(event: Event, labels: Labels) -> Iterator[Measurement]:
    operation = event.operation
    where = {"operation": operation, "namespace": labels.namespace(event.namespace)}
    what = _outcome(event, **where)
    yield Measurement("envelope_codec.payloads", event.payloads, what)
    if operation in _CODEC:
        yield Measurement("envelope_codec.codec.duration", event.seconds, what)
        if event.outcome == "ok":
            yield Measurement("envelope_codec.payload.bytes", event.size, where)
    at_once = event.payloads - event.fetched
    if operation == "open" and event.outcome == "ok" and at_once > 0:
        yield Measurement("envelope_codec.cache.lookups", at_once, {"cache": "opening", "result": "hit"})


def _measure_call(what: str, event: Event, attributes: Attributes) -> Iterator[Measurement]:
    """Yield what a call of a datastore or keystore adds. One without a duration is none, but something found in it."""
    if event.seconds > 0:
        yield Measurement(f"envelope_codec.{what}.duration", event.seconds, attributes)
    yield Measurement(f"envelope_codec.{what}.calls", 1, attributes)


def _measure_rest(event: Event, labels: Labels) -> Iterator[Measurement]:
    if event.operation == "compress":
        where = {"namespace": labels.namespace(event.namespace)}
        yield Measurement("envelope_codec.compression.bytes_before", event.bytes_before, where)
        yield Measurement("envelope_codec.compression.bytes_after", event.bytes_after, where)
    elif event.operation == "recall":
        result = "hit" if event.hit else "miss"
        yield Measurement("envelope_codec.cache.lookups", 1, {"cache": event.cache, "result": result})
    elif event.operation == "refuse":
        yield Measurement("envelope_codec.refused", 1, {"reason": event.reason})


def _outcome(event: Event, **attributes: str) -> Attributes:
    return attributes if event.outcome == "ok" else {**attributes, "error.type": event.outcome}
