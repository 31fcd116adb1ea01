"""What the doctor prints, for people and for programs."""

from __future__ import annotations

from typing import Any

from envelope_codec.cli.doctor.answer import Answer
from envelope_codec.cli.doctor.diagnosis import Diagnosis, Request
from envelope_codec.cli.doctor.finding import Finding, Level
from envelope_codec.cli.doctor.keys import Probe
from envelope_codec.cli.doctor.keystore import KeystoreProbe
from envelope_codec.cli.doctor.keystore_backup import BackupProbe
from envelope_codec.cli.doctor.recipients import Recipients
from envelope_codec.cli.doctor.stores import StoreProbe
from envelope_codec.cli.doctor.survey import Survey
from envelope_codec.cli.output import Page, plural
from envelope_codec.cli.payloads.kind import Kind
from envelope_codec.config import EnvelopeConfig

FORMAT = "envelope-codec/doctor-1"

_STYLES = {Level.problem: "red", Level.advice: "yellow"}


def print_diagnosis(request: Request | None, diagnosis: Diagnosis, page: Page) -> None:
    """Print the diagnosis for people. ``request`` is None where the configuration could not be loaded."""
    if request is not None:
        page.heading("Configuration")
        page.facts([("from", request.configuration.source), *_settings(request.configuration.config)])
        page.heading("Master keys")
        for probe in diagnosis.probes:
            _print_probe(probe, page)
        for counted in diagnosis.recipients:
            page.fact(counted.namespace, _describe_recipients(counted))
        if diagnosis.stores:
            page.heading("Datastores")
        for store in diagnosis.stores:
            page.fact(store.name, f"{store.setting}: {_describe_use(store)}")
        _print_keystore(diagnosis.keystore, page)
        page.heading("Temporal server")
        if request.connection is None:
            page.fact("not asked", "give --address or --profile, and its newest histories are read")
        else:
            page.fact("address", request.connection.address)
        for survey in diagnosis.surveys:
            unread = survey.reading.failure is not None and not survey.events
            page.fact(survey.namespace, "could not be read" if unread else _counts(survey))
    page.heading("Findings")
    for finding in diagnosis.findings:
        _print_finding(finding, page)
    problems = sum(finding.level is Level.problem for finding in diagnosis.findings)
    pieces = plural(len(diagnosis.findings) - problems, "piece of advice", "pieces of advice")
    page.line(f"{plural(problems, 'problem') if problems else 'No problem'}, {pieces}.", indent=2)


def diagnosis_document(request: Request | None, diagnosis: Diagnosis) -> dict[str, Any]:
    """Make the JSON document for programs. docs/command-line.md says what its names mean."""
    config = request.configuration.config if request else None
    return {
        "format": FORMAT,
        "status": diagnosis.status,
        "configuration": config
        and {
            "sealing": config.sealing,
            "require_encryption": config.require_encryption,
            "wrapping": config.wrapping,
            "compression": config.compression,
            "namespaces": list(request.namespaces if request else ()),
        },
        "keys": [_probe_document(probe) for probe in diagnosis.probes],
        "recipients": [_recipients_document(counted) for counted in diagnosis.recipients],
        "stores": [_store_document(store) for store in diagnosis.stores],
        "keystore": diagnosis.keystore and _keystore_document(diagnosis.keystore),
        "server": request and request.connection and {"address": request.connection.address},
        "histories": [_survey_document(survey) for survey in diagnosis.surveys],
        "findings": [
            {
                "level": finding.level.value,
                "code": finding.code.value,
                "subject": finding.subject,
                "text": finding.text,
                "fix": finding.fix,
                "words": finding.words,
            }
            for finding in diagnosis.findings
        ],
    }


def _settings(config: EnvelopeConfig) -> list[tuple[str, str]]:
    return [
        ("sealing", _on(config.sealing)),
        ("require_encryption", _on(config.require_encryption)),
        ("wrapping", config.wrapping),
        ("compression", config.compression),
    ]


def _on(setting: bool) -> str:
    return "on" if setting else "off"


def _print_probe(probe: Probe, page: Page) -> None:
    page.fact(probe.key.namespace, f"{probe.key.setting}: {probe.key_id or 'not loaded'}")
    outcomes = [
        f"{name} {_outcome(answer)}" for name, answer in (("wrap", probe.wrap), ("unwrap", probe.unwrap)) if answer
    ]
    if probe.proved:
        outcomes[-1] += " (of a payload in a history)"
    page.fact("", ", ".join(outcomes) or "could not be asked")


def _print_keystore(keystore: KeystoreProbe | None, page: Page) -> None:
    if keystore is None:
        return
    page.heading("Keystore")
    if keystore.defect or keystore.use is None:
        page.fact("use", "can't be opened" if keystore.defect else "no answer in time")
        return
    page.fact("use", _outcome(keystore.use) + ("" if keystore.writes else " (only read)"))
    if keystore.listing is not None:
        page.fact("rows", f"{_outcome(keystore.listing)}, {keystore.rows:,} read, {keystore.malformed:,} malformed")
    if keystore.backup is not None:
        page.fact("backup", _describe_backup(keystore.backup))


def _describe_backup(backup: BackupProbe) -> str:
    if backup.rows is None:
        return "can't be read" if backup.defect else "not read to its end in time"
    compared = f"{backup.compared - backup.lacking:,} of {backup.compared:,} rows of the keystore are in it"
    return f"{plural(backup.rows, 'row')}; {compared}; {backup.opened} of {backup.tried} that were tried open"


def _keystore_document(keystore: KeystoreProbe) -> dict[str, Any]:
    answer = _answer_document(keystore.use) or {"outcome": None, "milliseconds": None, "reason": ""}
    if keystore.defect:
        answer |= {"outcome": "ConfigurationError", "reason": keystore.defect}
    counts = {"rows_read": keystore.rows, "rows_malformed": keystore.malformed}
    backup = None
    if keystore.backup is not None:
        names = ("rows", "compared", "lacking", "tried", "opened")
        backup = {name: getattr(keystore.backup, name) for name in names}
    listing = _answer_document(keystore.listing)
    return {"writes": keystore.writes, **answer, "listing": listing, **counts, "backup": backup}


def _describe_recipients(counted: Recipients) -> str:
    text = f"a key that is made now has {counted.now} of {counted.wanted} recipients"
    if counted.lacking:
        text += f", without {', '.join(counted.lacking)}"
    if counted.newest is not None:
        text += f"; the newest in its histories has {counted.newest}"
    return text


def _recipients_document(counted: Recipients) -> dict[str, Any]:
    return {
        "namespace": counted.namespace,
        "wanted": counted.wanted,
        "now": counted.now,
        "lacking": list(counted.lacking),
        "newest_wrapping_key": counted.newest,
        "newest_lacking": list(counted.newest_lacking),
    }


def _outcome(answer: Answer) -> str:
    outcome = "ok" if answer.error is None else "failed"
    return f"{outcome} in {answer.seconds * 1000:.1f} ms"


def _describe_use(store: StoreProbe) -> str:
    if store.answer is None:
        return "can't be opened" if store.defect else "no answer"
    return _outcome(store.answer) + ("" if store.writes else " (only read)")


def _counts(survey: Survey) -> str:
    kinds = survey.kinds
    parts = [
        plural(len(survey.reading.histories), "history", "histories"),
        plural(survey.events, "event"),
        plural(survey.payloads, "payload"),
        plural(kinds[Kind.envelope], "envelope"),
        f"{kinds[Kind.clear]} in clear",
    ]
    names = {Kind.legacy: "by a legacy codec", Kind.malformed: "malformed", Kind.later_version: "of a later version"}
    parts += [f"{kinds[kind]} {name}" for kind, name in names.items() if kinds[kind]]
    if survey.clear_headers:
        parts.append(f"{plural(survey.clear_headers, 'header')} in clear by headers = false")
    parts += [f"{count} × {name}" for name, count in survey.temporal.items()]
    return ", ".join(parts)


def _print_finding(finding: Finding, page: Page) -> None:
    page.fact(finding.level.value, f"{finding.code.value}: {finding.subject}", column=10, style=_STYLES[finding.level])
    facts = [("", finding.text), ("", f"To do: {finding.fix}" if finding.fix else "")]
    if finding.words:
        facts.append(("", f"In its own words: {finding.words}"))
    page.facts([fact for fact in facts if fact[1]], column=10)


def _probe_document(probe: Probe) -> dict[str, Any]:
    return {
        "namespace": probe.key.namespace,
        "setting": probe.key.setting,
        "key_id": probe.key_id,
        "wrap": _answer_document(probe.wrap),
        "unwrap": _answer_document(probe.unwrap),
        "unwrapped_record_of_history": probe.proved,
    }


def _store_document(store: StoreProbe) -> dict[str, Any]:
    answer = _answer_document(store.answer) or {"outcome": None, "milliseconds": None, "reason": ""}
    if store.defect:
        answer |= {"outcome": "ConfigurationError", "reason": store.defect}
    return {"name": store.name, "role": store.role, **answer}


def _answer_document(answer: Answer | None) -> dict[str, Any] | None:
    if answer is None:
        return None
    error = answer.error
    return {
        "outcome": type(error).__name__ if error else "ok",
        "milliseconds": round(answer.seconds * 1000, 3),
        "reason": error.reason if error else "",
    }


def _survey_document(survey: Survey) -> dict[str, Any]:
    kinds = survey.kinds
    return {
        "namespace": survey.namespace,
        "complete": survey.reading.failure is None,
        "histories": len(survey.reading.histories),
        "events": survey.events,
        "payloads": survey.payloads,
        "envelopes": kinds[Kind.envelope],
        "records": len(survey.records),
        "clear": kinds[Kind.clear],
        "clear_by_encoding": dict(survey.encodings),
        "clear_headers": survey.clear_headers,
        "legacy": kinds[Kind.legacy],
        "malformed": kinds[Kind.malformed],
        "later_versions": kinds[Kind.later_version],
        "temporal": kinds[Kind.temporal],
        "temporal_by_name": dict(survey.temporal),
        "failures_in_clear": survey.failures,
    }
