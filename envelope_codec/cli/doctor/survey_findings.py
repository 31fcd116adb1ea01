"""The findings on the histories of the namespaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from envelope_codec.cli.connection import Connection
from envelope_codec.cli.doctor.finding import Code, Finding, advice, problem
from envelope_codec.cli.doctor.histories import ReadFailure, ServerFailed
from envelope_codec.cli.doctor.survey import Survey
from envelope_codec.cli.output import plural
from envelope_codec.cli.payloads.kind import Kind
from envelope_codec.config import EnvelopeConfig, NamespaceKeys
from envelope_codec.envelope import Record
from envelope_codec.keys.namespaces import Entries

TOLERANCE = 10.0
"""By how many seconds clocks may differ before there is a finding."""

_CONNECTION = "check the address (HOST:PORT), and that the server runs"
_TLS = {
    True: "; TLS is on, because TEMPORAL_TLS, the profile or an API key asks for it",
    False: "; TLS is off, and TEMPORAL_TLS=true turns it on",
}
_PERMISSION = "give an API key or certificate that may read the namespace and its histories"


def server_finding(error: ServerFailed, connection: Connection) -> Finding:
    """Say why nothing could be read."""
    address = connection.address
    if error.failure == ReadFailure.refused:
        text = "the Temporal server refused these credentials"
        return problem(Code.server_refused, address, text, _PERMISSION, error.words)
    text = (
        "the Temporal server gave no answer in time"
        if error.failure == ReadFailure.late
        else "the Temporal server can't be reached"
    )
    return problem(Code.server_unreachable, address, text, _CONNECTION + _TLS[connection.tls], error.words)


def survey_findings(survey: Survey, config: EnvelopeConfig, asked: bool) -> Iterator[Finding]:
    """Say what is wrong with the histories of one namespace.

    Args:
        survey: what was counted in them.
        config: the configuration.
        asked: whether somebody named this namespace.
    """
    name, reading = survey.namespace, survey.reading
    if reading.failure == ReadFailure.missing:
        make = problem if asked else advice
        text = "the Temporal server has no such namespace"
        yield make(Code.namespace_missing, name, text, "name the ones to examine with --namespace", reading.words)
    elif reading.failure == ReadFailure.refused:
        text = "the Temporal server does not let these credentials read this namespace"
        yield problem(Code.server_refused, name, text, _PERMISSION, reading.words)
    elif reading.failure in (ReadFailure.late, ReadFailure.unreachable):
        text = "not all of the newest histories could be read"
        yield problem(Code.server_unreachable, name, text, f"{_CONNECTION}; or set a longer --timeout", reading.words)
    elif not survey.payloads:
        yield advice(
            Code.no_payloads, name, "its newest histories hold no payloads, so nothing can be said about payloads"
        )
    yield from _clear_findings(survey, config)
    yield from _envelope_findings(survey)


def _clear_findings(survey: Survey, config: EnvelopeConfig) -> Iterator[Finding]:
    name, clear = survey.namespace, survey.kinds[Kind.clear]
    make = problem if config.sealing else advice
    if clear:
        encodings = ", ".join(f"{count} {encoding}" for encoding, count in survey.encodings.most_common(5))
        yield make(
            Code.payloads_in_clear,
            name,
            f"{clear} of {plural(survey.payloads, 'payload')} in its newest histories are in clear ({encodings}); the "
            f"first is at {survey.first[Kind.clear]}",
            "give EnvelopePlugin to every client and worker, as the last plugin; what was written before stays in "
            "clear until its retention ends",
        )
    if clear and config.require_encryption:
        yield problem(
            Code.require_encryption_too_early,
            "require_encryption",
            f"it is on, and namespace {name} holds payloads in clear: workers refuse them",
            "turn it off until the histories that hold them are gone",
        )
    if survey.failures:
        yield make(
            Code.failures_in_clear,
            name,
            f"{plural(survey.failures, 'failure message or stack trace', 'failure messages or stack traces')} in its "
            f"newest histories are in clear; the first is at {survey.first[None]}",
            "do the same as for payloads; a plugin that replaces the failure converter must come before EnvelopePlugin",
        )
    yield from _proxied_findings(survey, config)
    legacy = survey.kinds[Kind.legacy] - survey.proxied.total()
    if legacy and not config.legacy_codecs:
        yield problem(
            Code.payloads_of_legacy_codec,
            name,
            f"{plural(legacy, 'payload')} in its newest histories were sealed by a legacy codec, and none is "
            f"configured to open them; the first is at {survey.first[Kind.legacy]}",
            "name that codec in legacy_codecs",
        )


def _proxied_findings(survey: Survey, config: EnvelopeConfig) -> Iterator[Finding]:
    entry = Entries(config).opening(survey.namespace)
    keys: EnvelopeConfig | NamespaceKeys = config.namespaces[entry] if entry else config
    known = keys.temporal_proxy_keys if entry is not None else {}
    for key_id, count in survey.proxied.most_common(5):
        if key_id not in known and not config.legacy_codecs:
            yield problem(
                Code.payloads_of_legacy_codec,
                survey.namespace,
                f"{plural(count, 'payload')} in its newest histories were sealed by Temporal's proxy under "
                f"{key_id[:600]!r}, which is not configured; the first payload of its encoding is at "
                f"{survey.first[Kind.legacy]}",
                "add that name to temporal_proxy_keys, letter by letter, with the key that it is of",
            )


def _envelope_findings(survey: Survey) -> Iterator[Finding]:
    name = survey.namespace
    if count := survey.kinds[Kind.malformed]:
        reasons = "; ".join(reason for reason, _ in survey.reasons.most_common(3))
        yield problem(
            Code.payloads_malformed,
            name,
            f"malformed envelopes in its newest histories: {count} ({reasons}); the first is at "
            f"{survey.first[Kind.malformed]}",
            "find out who wrote or changed them",
        )
    if count := survey.kinds[Kind.later_version]:
        yield problem(
            Code.payloads_of_later_version,
            name,
            f"envelopes of a later version in its newest histories: {count}; the first is at "
            f"{survey.first[Kind.later_version]}",
            "upgrade this library",
        )
    if survey.foreign:
        origins = ", ".join(f"{count} of {origin}" for origin, count in survey.foreign.most_common(5))
        yield problem(
            Code.foreign_namespace,
            name,
            f"envelopes in its newest histories were sealed for other namespaces: {origins}",
            "workers refuse them: if the namespace was renamed, list the old name in namespace_aliases; otherwise find "
            "out who copied them here",
        )


def unconfigured_finding(survey: Survey, without: Sequence[Record], *, looked_up: bool = False) -> Finding:
    """Say which envelopes nobody with this configuration can open. ``looked_up`` says that the keystore was asked."""
    envelopes = sum(survey.records[record] for record in without)
    key_ids = dict.fromkeys(recipient.key_id for record in without for recipient in record.recipients)
    shown = ", ".join(list(key_ids)[:5])
    fix = (
        "add it to decrypt_keys there; or, if it was retired, bring back rows that a configured master key opens, with "
        "keystore import"
        if looked_up
        else "add it to decrypt_keys there; or, if it was retired, name the keystore that it was retired with"
    )
    return problem(
        Code.key_not_configured,
        survey.namespace,
        f"{plural(envelopes, 'envelope')} in its newest histories need a master key that is not configured for the "
        f"namespace that sealed them{', and the keystore does not help' if looked_up else ''}: {shown}",
        fix,
    )


def clock_findings(surveys: Sequence[Survey], now: float) -> Iterator[Finding]:
    """Find times in the future of this machine's clock, which says ``now`` in Unix seconds."""
    event = max((survey.newest_event for survey in surveys), default=0.0)
    created = max((record.created for survey in surveys for record in survey.records), default=0)
    if event > now + TOLERANCE:
        yield problem(
            Code.clock_off,
            "clock",
            f"the newest event of the Temporal server lies {event - now:.0f} s in the future of this machine's clock",
            "set the clock (NTP): a KMS may refuse requests with a wrong time, and leases end at the wrong moment",
        )
    elif created > now + TOLERANCE:
        yield problem(
            Code.clock_off,
            "clock",
            f"a wrapping key in the histories was made {created - now:.0f} s in the future of this machine's clock",
            "set the clock (NTP) of this machine, or of the one that sealed",
        )


def requirement_finding(config: EnvelopeConfig, surveys: Mapping[str, Survey]) -> Finding | None:
    """Say what to do about ``require_encryption`` where it is off. None if nothing."""
    if config.require_encryption or not config.sealing:
        return None
    read = [survey for survey in surveys.values() if survey.reading.failure is None and survey.payloads]
    if any(survey.kinds[Kind.clear] for survey in read):
        return None
    text = "require_encryption is off: whoever can write to the Temporal server can put plaintext before a worker"
    if not any(survey.kinds[Kind.envelope] for survey in read):
        fix = "turn it on once the namespaces hold nothing but envelopes; --address looks at what they hold"
        return advice(Code.require_encryption_off, "require_encryption", text, fix)
    names = ", ".join(survey.namespace for survey in read)
    return advice(
        Code.require_encryption_off,
        "require_encryption",
        text,
        f"the newest histories of {names} hold envelopes only: turn it on, if older ones do too",
    )
