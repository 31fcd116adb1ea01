"""The board: a view as lines for people, no wider than the screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from envelope_codec.cli.doctor.answer import Answer
from envelope_codec.cli.doctor.finding import Level
from envelope_codec.cli.doctor.watch.grid import clip, rows_of
from envelope_codec.cli.doctor.watch.overview import Calls, LeaseStage, Overview
from envelope_codec.cli.doctor.watch.view import View
from envelope_codec.cli.output import fold, plural, printable
from envelope_codec.cli.payloads.kind import Kind

_STYLES = {Level.problem: "bold red", Level.advice: "yellow"}
_NARROWEST = 30
_MOST_FINDINGS = 12


class Line(NamedTuple):
    """A line, and how it looks where there are colours."""

    text: str
    style: str = ""


def lines_of(view: View, width: int) -> list[Line]:
    """Return the lines of ``view``: first what needs somebody, and then the state of all."""
    width = max(width, _NARROWEST)
    reached = sum(not endpoint.trouble for endpoint in view.endpoints)
    verdict = plural(view.problems, "problem") if view.problems else "no problem"
    told = f"endpoints {reached}/{len(view.endpoints)}" if view.endpoints else "no endpoints"
    title = f"{view.time:%Y-%m-%d %H:%M:%S} UTC  {told}  {verdict}"
    lines = [Line(clip(title, width), "bold red" if view.problems else "bold green")]
    lines += _findings(view, width)
    for heading, columns, rows in _tables(view.overview):
        if rows:
            head, *rest = rows_of(columns, rows, width)
            lines += [Line(""), Line(clip(heading, width), "bold"), Line(head, "dim"), *map(Line, rest)]
    lines += [Line(clip(text, width)) for text in _further(view.overview)]
    lines += [Line(clip(printable(text), width), style) for text, style in _examined(view)]
    return lines


def _findings(view: View, width: int) -> Iterator[Line]:
    found = [(one.level, one.alert, one.text) for one in view.judgements]
    if view.examination is not None:  # its advice is about settings, and nothing for the moment
        own = [one for one in view.examination.diagnosis.findings if one.level is Level.problem]
        found += [(one.level, one.code.value, f"{one.subject}: {one.text}") for one in own]
    found.sort(key=lambda one: one[0] is not Level.problem)
    for level, name, text in found[:_MOST_FINDINGS]:
        words = fold(printable(f"{name}: {text}"), width - 10, breaking_words=True)
        yield Line(f"{level.value:9} {words[0]}", _STYLES[level])
        yield from (Line(f"{'':9} {line}", _STYLES[level]) for line in words[1:3])
    if len(found) > _MOST_FINDINGS:
        yield Line(f"and {len(found) - _MOST_FINDINGS} more")


Table = tuple[str, Sequence[str], list[Sequence[str]]]


def _tables(overview: Overview) -> Iterator[Table]:
    yield (
        "Leases",
        ("namespace", "operation", "state", "since success", "grace left", "in", "key"),
        [
            (
                lease.namespace,
                lease.operation,
                lease.stage.value,
                _span(lease.since_success),
                _span(lease.grace_left) if lease.stage is LeaseStage.grace else "-",
                str(lease.processes),
                lease.key_id,
            )
            for lease in overview.leases
        ],
    )
    yield (
        "Sealing keys",
        ("namespace", "age", "payloads", "recipients", "in", "key"),
        [
            (
                key.namespace,
                _span(key.age),
                f"{key.uses:,.0f}",
                f"{key.recipients}, lacks {key.lacking}" if key.lacking else str(key.recipients),
                str(key.processes),
                key.key_id,
            )
            for key in overview.sealing_keys
        ],
    )
    calls = [*overview.kms, *overview.stores, *overview.keystore]
    yield (
        "Calls of the last minute",
        ("of", "operation", "calls", "p99", "failed"),
        [(one.place, one.operation, _rate(one.rate), _latency(one.p99), _failures(one)) for one in calls],
    )
    yield (
        "Payloads of the last minute",
        ("namespace", "sealed", "opened", "legacy", "in clear", "failed"),
        [
            (
                one.namespace,
                *(_rate(rate) for rate in (one.sealed, one.opened, one.legacy, one.passed)),
                ", ".join(f"{what} {error} {_rate(rate)}" for (what, error), rate in one.failures.items()) or "-",
            )
            for one in overview.payloads
        ],
    )
    yield (
        "Requests to codec servers of the last minute",
        ("status", "requests"),
        [(status, _rate(rate)) for status, rate in overview.requests.by_status.items()],
    )


def _further(overview: Overview) -> Iterator[str]:
    facts = []
    if overview.leases or overview.keys_cached:
        facts.append(f"keys at hand: {overview.keys_cached:,}")
    if overview.requests.p99 is not None:
        facts.append(f"codec server's p99: {_latency(overview.requests.p99)}")
    if overview.queued:
        facts.append(f"waiting for the keystore: {overview.queued}, the first for {_span(overview.lag)}")
    if facts:
        yield ""
        yield "; ".join(facts)


def _examined(view: View) -> Iterator[tuple[str, str]]:
    if view.request is None:
        return
    yield "", ""
    if view.examination is None:
        yield "Examined by this command: under way", "bold"
        return
    seconds = (view.time - view.examination.ended).total_seconds()
    yield f"Examined by this command {_span(max(0.0, seconds))} ago", "bold"
    diagnosis = view.examination.diagnosis
    for probe in diagnosis.probes:
        yield f"  {probe.key.namespace}, {probe.key.setting}: {_answers(probe.wrap, probe.unwrap)}", ""
    for store in diagnosis.stores:
        yield f"  store {store.name}: {_answers(store.answer)}", ""
    if diagnosis.keystore is not None:
        yield f"  keystore: {_answers(diagnosis.keystore.use)}", ""
    for survey in diagnosis.surveys:
        counts = f"{survey.kinds[Kind.envelope]} envelopes, {survey.kinds[Kind.clear]} in clear"
        yield f"  {survey.namespace}, {len(survey.reading.histories)} newest histories: {counts}", ""


def _answers(*answers: Answer | None) -> str:
    said = [
        "no answer"
        if answer is None
        else f"ok in {answer.seconds * 1000:.0f} ms"
        if answer.error is None
        else type(answer.error).__name__
        for answer in answers
    ]
    return ", ".join(said)


def _span(seconds: float) -> str:
    for unit, name in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"


def _rate(rate: float) -> str:
    if not rate:
        return "0"
    return f"{rate:,.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"


def _latency(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _failures(calls: Calls) -> str:
    return ", ".join(f"{error} {_rate(rate)}" for error, rate in sorted(calls.failures.items())) or "-"
