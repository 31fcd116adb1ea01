"""The judgement: what in an overview needs somebody, by the names of the alerts that have a runbook each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from envelope_codec.cli.doctor.finding import Level
from envelope_codec.cli.doctor.watch.endpoint import Endpoint
from envelope_codec.cli.doctor.watch.overview import LeaseStage, Overview

UNREACHABLE = "unreachable"
"""The one name that is no alert's: an endpoint tells nothing."""

_SHARE_OF_KMS = 0.5
_SHARE_OF_STORE = 0.05
_SHARE_IN_CLEAR = 0.01
_NO_FAILURES = ("NotAdopted", "NotShared")
_SOON = 15 * 60.0
_LAG = 10 * 60.0
_DAY_AND_MORE = 26 * 3600.0
_SLOW = 5.0


class Judgement(NamedTuple):
    """One thing that needs somebody.

    Attributes:
        level: a problem makes the exit status 1.
        alert: its heading in docs/runbooks.md, or `UNREACHABLE`.
        text: what is so. It may hold text from elsewhere.
    """

    level: Level
    alert: str
    text: str


def judge(overview: Overview, endpoints: Sequence[Endpoint]) -> list[Judgement]:
    """Say what needs somebody, problems first. The bounds are those of the alerts, over a minute."""
    found = [
        Judgement(Level.problem, UNREACHABLE, f"{endpoint.url} {endpoint.trouble}")
        for endpoint in endpoints
        if endpoint.trouble
    ]
    found += [*_leases(overview), *_kms(overview), *_keys(overview), *_payloads(overview), *_others(overview)]
    return sorted(found, key=lambda judgement: judgement.level is not Level.problem)


def _leases(overview: Overview) -> Iterator[Judgement]:
    for lease in overview.leases:
        what = f"{lease.namespace}, {lease.operation} with {lease.key_id}"
        if 0 < lease.grace_left < _SOON:
            text = f"{what}: {lease.grace_left:.0f} s of grace are left"
            yield Judgement(Level.problem, "EnvelopeGraceEndsSoon", text)
        elif lease.grace_left > 0:
            text = f"{what}: no success for {lease.since_success:.0f} s, keys serve by grace"
            yield Judgement(Level.problem, "EnvelopeGraceInUse", text)
        elif lease.stage is LeaseStage.ended:
            text = f"{what}: no success for {lease.since_success:.0f} s, and no grace is left"
            yield Judgement(Level.problem, "EnvelopeLeaseNotRenewed", text)


def _kms(overview: Overview) -> Iterator[Judgement]:
    for calls in overview.kms:
        if "KeyDenied" in calls.failures:
            keys = ", ".join(calls.key_ids["KeyDenied"])
            yield Judgement(Level.problem, "EnvelopeKeyDenied", f"{calls.place} refuses {calls.operation} with {keys}")
        share = calls.failures.get("KmsUnavailable", 0.0) / calls.rate if calls.rate else 0.0
        if share > _SHARE_OF_KMS:
            text = f"{share:.0%} of the calls of {calls.place} for {calls.operation} get no answer"
            yield Judgement(Level.problem, "EnvelopeKmsUnavailable", text)
    for key_id in overview.open_breakers:
        text = f"{key_id} did not answer when it was last asked"
        yield Judgement(Level.advice, "EnvelopeBreakerOpen", text)


def _keys(overview: Overview) -> Iterator[Judgement]:
    for key in overview.sealing_keys:
        what = f"{key.namespace}, {key.key_id}"
        if key.lacking:
            text = f"{what}: the key that seals lacks {key.lacking} of {key.recipients + key.lacking} recipients"
            yield Judgement(Level.advice, "EnvelopeRecipientLacking", text)
        if key.age > _DAY_AND_MORE:
            text = f"{what}: the key that seals is {key.age / 3600:.0f} hours old"
            yield Judgement(Level.advice, "EnvelopeSealingKeyOld", text)


def _payloads(overview: Overview) -> Iterator[Judgement]:
    for one in overview.payloads:
        for (operation, error), rate in sorted(one.failures.items()):
            alert = "EnvelopeSealingFails" if operation == "seal" else "EnvelopeOpeningFails"
            alert = "EnvelopePlaintextRefused" if error == "EncryptionRequired" else alert
            text = f"{one.namespace}: {operation} fails for {rate:.2g} payloads a second: {error}"
            yield Judgement(Level.problem, alert, text)
        read = one.opened + one.passed
        # What a codec server is given in clear has no namespace, and is nothing that a worker reads.
        if one.namespace and read and one.passed / read > _SHARE_IN_CLEAR:
            text = f"{one.namespace}: {one.passed / read:.0%} of what is read is in clear"
            yield Judgement(Level.advice, "EnvelopePlaintextPassed", text)


def _others(overview: Overview) -> Iterator[Judgement]:
    for alert, all_calls in (("EnvelopeStoreFails", overview.stores), ("EnvelopeKeystoreFails", overview.keystore)):
        for calls in all_calls:
            failures = {error: rate for error, rate in calls.failures.items() if error not in _NO_FAILURES}
            if calls.rate and sum(failures.values()) / calls.rate > _SHARE_OF_STORE:
                yield Judgement(Level.problem, alert, f"{calls.place}: {calls.operation} fails: {_names(failures)}")
    if overview.lag > _LAG:
        text = f"{overview.queued} records wait for the keystore, the first for {overview.lag:.0f} s"
        yield Judgement(Level.problem, "EnvelopeKeystoreLags", text)
    for reason, rate in overview.refused.items():
        yield Judgement(Level.advice, "EnvelopeBudgetRefuses", f"{reason}: {rate:.2g} a second")
    yield from _requests(overview)


def _requests(overview: Overview) -> Iterator[Judgement]:
    answered = overview.requests.by_status
    total = sum(answered.values())
    failed = sum(rate for status, rate in answered.items() if status.startswith("5"))
    refused = sum(answered.get(status, 0.0) for status in ("401", "403"))
    if total and failed / total > _SHARE_OF_STORE:
        yield Judgement(Level.problem, "EnvelopeCodecServerFails", f"{failed / total:.0%} of the requests end with 5xx")
    if total and refused / total > 0.2:
        text = f"{refused / total:.0%} of the requests are answered with 401 or 403"
        yield Judgement(Level.advice, "EnvelopeCodecServerRefusesCallers", text)
    if overview.requests.p99 is not None and overview.requests.p99 > _SLOW:
        text = f"one request in a hundred takes {overview.requests.p99:.1f} s or longer"
        yield Judgement(Level.advice, "EnvelopeCodecServerSlow", text)


def _names(failures: dict[str, float]) -> str:
    return ", ".join(sorted(failures))
