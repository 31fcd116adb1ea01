"""Samples: what gauges say of keyrings, from their status."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from envelope_codec.keys.status import KeyringStatus, LeaseStatus
from envelope_codec.metrics.labels import Labels

Series = tuple[str, tuple[tuple[str, str], ...]]
"""A time series: the name of its instrument, and its attributes."""

_JOINED: dict[str, Callable[[float, float], float]] = {
    "envelope_codec.keys.cached": lambda one, other: one + other,
    "envelope_codec.keystore.queued": lambda one, other: one + other,
    "envelope_codec.sealing_key.recipients": min,
    "envelope_codec.lease.grace_left": lambda one, other: min(one or other, other or one),
}
"""What becomes of two values of one series, where it is not the greater one. The least grace is told that is in use."""


def take_samples(statuses: Iterable[KeyringStatus], labels: Labels) -> dict[Series, float]:
    """Return what the gauges say of these keyrings together. One that has been closed counts no more."""
    found: dict[Series, float] = {}
    for status in statuses:
        if status.closed:
            continue
        for series, value in _samples_of(status, labels):
            known = found.get(series)
            found[series] = value if known is None else _JOINED.get(series[0], max)(known, value)
    return found


def _samples_of(status: KeyringStatus, labels: Labels) -> Iterator[tuple[Series, float]]:
    yield ("envelope_codec.keys.cached", ()), status.keys_cached
    yield ("envelope_codec.keystore.queued", ()), status.keystore_queued
    yield ("envelope_codec.keystore.lag", ()), status.keystore_lag
    for key in status.sealing_keys:
        if key.record_id:
            where = (("namespace", labels.namespace(key.namespace)), ("key.id", labels.key_id(key.key_id)))
            yield ("envelope_codec.sealing_key.age", where), key.age
            yield ("envelope_codec.sealing_key.uses", where), key.uses
            yield ("envelope_codec.sealing_key.recipients", where), key.recipients
            yield ("envelope_codec.sealing_key.recipients_lacking", where), key.lacking
    for lease in status.leases:
        if lease.stage != "idle":
            yield from _samples_of_lease(lease, labels)
    for breaker in status.breakers:
        is_open = float(breaker.state != "closed")
        yield ("envelope_codec.breaker.open", (("key.id", labels.key_id(breaker.key_id)),)), is_open


def _samples_of_lease(lease: LeaseStatus, labels: Labels) -> Iterator[tuple[Series, float]]:
    where = (
        ("operation", lease.operation),
        ("namespace", labels.namespace(lease.namespace)),
        ("key.id", labels.key_id(lease.key_id)),
    )
    yield ("envelope_codec.lease.since_success", where), lease.since_success
    yield ("envelope_codec.lease.grace_left", where), lease.grace_left
