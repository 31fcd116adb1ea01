"""The overview: what all watched endpoints tell, put together as one person wants to know it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from envelope_codec.cli.doctor.watch.change import Change, quantiles, rates

_P99 = 0.99
_VERBS = ("encode", "decode", "download")


class LeaseStage(str, Enum):
    """Stage of the leases of one operation, master key and namespace."""

    live = "live"
    grace = "grace"
    ended = "ended"


class Lease(NamedTuple):
    """The leases of one operation, master key and namespace, in all processes that use them.

    Attributes:
        stage: that of the process that fares worst.
        since_success: seconds, the most of any process.
        grace_left: seconds, the least of any process in grace; 0.0 if none is.
        processes: how many endpoints have such leases.
    """

    namespace: str
    operation: str
    key_id: str
    stage: LeaseStage
    since_success: float
    grace_left: float
    processes: int


class SealingKey(NamedTuple):
    """The wrapping keys that seal in one namespace, in all processes: the oldest, the most used, the least wrapped."""

    namespace: str
    key_id: str
    age: float
    uses: float
    recipients: int
    lacking: int
    processes: int


class Calls(NamedTuple):
    """Calls of one kind in the last minute.

    Attributes:
        place: the provider, the store, or ``keystore``.
        operation: what was asked.
        rate: calls a second.
        failures: calls a second by error, of the same.
        p99: seconds; None if there was no call.
        key_ids: by error, which master keys these calls were for.
    """

    place: str
    operation: str
    rate: float
    failures: dict[str, float]
    p99: float | None
    key_ids: dict[str, list[str]]


class Payloads(NamedTuple):
    """Payloads of one namespace in the last minute, each a second. ``failures`` are by operation and error."""

    namespace: str
    sealed: float
    opened: float
    legacy: float
    passed: float
    failures: dict[tuple[str, str], float]


class Requests(NamedTuple):
    """Requests for payloads to codec servers in the last minute: a second, by status.

    Of the slowest route, 99 % are answered within ``p99``.
    """

    by_status: dict[str, float]
    p99: float | None


class Overview(NamedTuple):
    """All of it."""

    leases: list[Lease]
    sealing_keys: list[SealingKey]
    open_breakers: list[str]
    keys_cached: int
    kms: list[Calls]
    stores: list[Calls]
    keystore: list[Calls]
    queued: int
    lag: float
    payloads: list[Payloads]
    requests: Requests
    refused: dict[str, float]


def overview_of(changes: Sequence[Change], lease: float) -> Overview:
    """Put together what the endpoints told.

    Args:
        changes: of those that can be reached.
        lease: the setting: for how many seconds a success vouches.
    """
    refused = rates(changes, "envelope_codec_refused", "reason")
    return Overview(
        leases=_leases(changes, lease),
        sealing_keys=_sealing_keys(changes),
        open_breakers=sorted(
            {
                labels.get("key_id", "")
                for change in changes
                for labels, value in change.gauges("envelope_codec_breaker_open")
                if value > 0
            }
        ),
        keys_cached=int(sum(_values(changes, "envelope_codec_keys_cached"))),
        kms=_calls(changes, "envelope_codec_kms", "provider"),
        stores=_calls(changes, "envelope_codec_store", "store"),
        keystore=[calls._replace(place="keystore") for calls in _calls(changes, "envelope_codec_keystore", "")],
        queued=int(sum(_values(changes, "envelope_codec_keystore_queued"))),
        lag=max(_values(changes, "envelope_codec_keystore_lag"), default=0.0),
        payloads=_payloads(changes),
        requests=_requests(changes),
        refused={reason: rate for (reason,), rate in sorted(refused.items()) if rate > 0},
    )


def _values(changes: Iterable[Change], name: str) -> list[float]:
    return [value for change in changes for _, value in change.gauges(name)]


def _leases(changes: Iterable[Change], lease: float) -> list[Lease]:
    found: dict[tuple[str, str, str], Lease] = {}
    for change in changes:
        left = {_lease_name(labels): value for labels, value in change.gauges("envelope_codec_lease_grace_left")}
        for labels, since in change.gauges("envelope_codec_lease_since_success"):
            if not since:  # an exporter that keeps what it was told says so of leases that nothing uses any more
                continue
            name = _lease_name(labels)
            grace = left.get(name, 0.0)
            stage = LeaseStage.grace if grace > 0 else LeaseStage.live if since <= lease else LeaseStage.ended
            one = Lease(*name, stage, since, max(grace, 0.0), 1)
            found[name] = _join_leases(found[name], one) if name in found else one
    return [found[name] for name in sorted(found)]


def _lease_name(labels: Mapping[str, str]) -> tuple[str, str, str]:
    return labels.get("namespace", ""), labels.get("operation", ""), labels.get("key_id", "")


_WORST = (LeaseStage.ended, LeaseStage.grace, LeaseStage.live)


def _join_leases(one: Lease, other: Lease) -> Lease:
    graces = [lease.grace_left for lease in (one, other) if lease.grace_left > 0]
    return one._replace(
        stage=min(one.stage, other.stage, key=_WORST.index),
        since_success=max(one.since_success, other.since_success),
        grace_left=min(graces, default=0.0),
        processes=one.processes + other.processes,
    )


def _sealing_keys(changes: Iterable[Change]) -> list[SealingKey]:
    facts: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for change in changes:
        for fact in ("age", "uses", "recipients", "recipients_lacking"):
            for labels, value in change.gauges(f"envelope_codec_sealing_key_{fact}"):
                facts[labels.get("namespace", ""), labels.get("key_id", "")][fact].append(value)
    return [
        SealingKey(
            namespace,
            key_id,
            age=max(known["age"], default=0.0),
            uses=max(known["uses"], default=0.0),
            recipients=int(min(known["recipients"], default=0)),
            lacking=int(max(known["recipients_lacking"], default=0)),
            processes=len(known["age"]),
        )
        for (namespace, key_id), known in sorted(facts.items())
        if max(known["recipients"], default=0)  # else the key is gone, and its exporter keeps the series
    ]


def _calls(changes: Sequence[Change], name: str, place: str) -> list[Calls]:
    latencies = quantiles(changes, f"{name}_duration", _P99, place, "operation")
    found: dict[tuple[str, str], Calls] = {}
    for (where, operation, error, key_id), rate in sorted(
        rates(changes, f"{name}_calls", place, "operation", "error_type", "key_id").items()
    ):
        calls = found.setdefault(
            (where, operation), Calls(where, operation, 0.0, {}, latencies.get((where, operation)), {})
        )
        if error and rate > 0:
            calls.failures[error] = calls.failures.get(error, 0.0) + rate
            calls.key_ids.setdefault(error, []).append(key_id)
        found[where, operation] = calls._replace(rate=calls.rate + rate)
    return list(found.values())


def _payloads(changes: Sequence[Change]) -> list[Payloads]:
    counts: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for (namespace, operation, error), rate in sorted(
        rates(changes, "envelope_codec_payloads", "namespace", "operation", "error_type").items()
    ):
        counts[namespace][operation, error] = rate
    return [
        Payloads(
            namespace,
            sealed=known.get(("seal", ""), 0.0),
            opened=known.get(("open", ""), 0.0),
            legacy=known.get(("legacy", ""), 0.0),
            passed=known.get(("pass", ""), 0.0),
            failures={what: rate for what, rate in known.items() if what[1] and rate > 0},
        )
        for namespace, known in counts.items()
    ]


def _requests(changes: Sequence[Change]) -> Requests:
    """Count what asks for payloads. A page, such as that of the metrics, is always quick."""
    statuses: dict[str, float] = defaultdict(float)
    for (route, status), rate in rates(
        changes, "http_server_request_duration_count", "http_route", "http_response_status_code"
    ).items():
        if route.endswith(_VERBS):
            statuses[status] += rate
    latencies = quantiles(changes, "http_server_request_duration", _P99, "http_route")
    slowest = max((seconds for (route,), seconds in latencies.items() if route.endswith(_VERBS)), default=None)
    return Requests(dict(sorted(statuses.items())), slowest)
