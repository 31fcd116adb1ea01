"""The report of an audit as one page of HTML, which asks nothing of any network."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from envelope_codec import __version__
from envelope_codec.cli.audit.chart import Axis, draw
from envelope_codec.cli.audit.need import OTHER_DAYS
from envelope_codec.cli.audit.report import NAMES, Report
from envelope_codec.cli.audit.verdict import State, unseen
from envelope_codec.cli.audit.window import timestamp
from envelope_codec.cli.output import printable

_DAY = 86_400_000  # milliseconds

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --page: #fff; --quiet: #57606a; --line: #d0d7de; --bar: #0969da;
  --good: #116329; --bad: #a40e26; --unsure: #7d4e00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --page: #14171a; --quiet: #9da7b1; --line: #3a4149;
  --bar: #58a6ff; --good: #5bd67f; --bad: #ff8a8a; --unsure: #e3b341; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 1.5rem auto; padding: 0 1rem; color: var(--ink);
  background: var(--page); overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
h3 { font: 600 .95rem/1.4 ui-monospace, monospace; border-top: 1px solid var(--line); padding-top: 1rem; }
.quiet, figcaption, .axis { color: var(--quiet); font-size: .85rem; }
.needed { color: var(--bad); } .not-needed { color: var(--good); } .unknown { color: var(--unsure); }
figure { margin: 1rem 0; } svg { width: 100%; height: 5rem; border-bottom: 1px solid var(--line); fill: var(--bar); }
.axis { display: flex; justify-content: space-between; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; } dd { margin: 0; }
@media (max-width: 30rem) { dl { display: block; } dd { margin: 0 0 .5rem; } dt { color: var(--quiet); }
  table, tbody, tr { display: block; } th { display: none; } tr + tr { margin-bottom: 1rem; }
  td { display: flex; justify-content: space-between; padding-right: 0; }
  td::before { content: attr(data-name); color: var(--quiet); } }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"


def render(report: Report) -> str:
    """Make the page. Whatever somebody else has chosen, such as the id of a key or a workflow, is text in it."""
    title = f"Master keys that namespace {report.namespace} needs"
    axis = _axis(report)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{_text(title)}</h1>
<p>As of {timestamp(report.findings.as_of)}, on {_text(report.server)}{_condition(report)}.</p>
{_completeness(report)}
<h2>Keys</h2>
{"".join(_key(report, key_id, axis) for key_id in report.verdicts) or "<p>No payload names any.</p>"}
<h2>Besides</h2>
<dl>{"".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in report.besides())}</dl>
<h2>What this can't see</h2>
{_list(unseen(report.findings))}
<p class="quiet">envelope-codec audit, {_text(__version__)}. When a key was made is what records say of themselves.</p>
</body>
</html>
"""


def _condition(report: Report) -> str:
    return f", workflows that match <b>{_text(report.condition)}</b> only" if report.condition else ""


def _completeness(report: Report) -> str:
    if not report.gaps:
        return '<p><b class="not-needed">Complete</b>: everything that the server lists was read.</p>'
    unread = [f"{what}: {why}" for what, why in sorted(report.whole.unread.items())]
    return f'<p><b class="unknown">Incomplete</b></p>\n{_list([*report.gaps, *unread])}'


def _axis(report: Report) -> Axis:
    days = {day for need in report.whole.needs.values() for day in need.days}
    return Axis.over(days - {OTHER_DAYS}, report.findings.as_of // _DAY)


def _key(report: Report, key_id: str, axis: Axis) -> str:
    verdict = report.verdicts[key_id]
    rows = [row for row in report.rows() if row[0].key_id == key_id]
    days: Counter[int] = Counter()
    for _, need in rows:
        days.update(need.days)
    return (
        f"<h3>{_text(key_id)}</h3>\n"
        f'<p><b class="{verdict.state.value.replace(" ", "-")}">{_STATES[verdict.state]}</b></p>\n'
        f"{_list((*verdict.sentences, *report.by_version(key_id), *report.witness(key_id)))}"
        f"{draw(days, axis, 'Payloads by day') if days else ''}"
        f"{_table(NAMES[1:], (report.cells(row) for row in rows))}"
    )


_STATES = {State.needed: "Needed", State.not_needed: "Not needed", State.unknown: "Not known"}


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(map(_cell, names, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>\n'


def _cell(name: str, text: str) -> str:
    """Make a cell. On a narrow screen it is a line, which begins with its name."""
    return f'<td data-name="{_text(name)}">{_text(text)}</td>'


def _list(texts: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(text)}</li>' for text in texts)}</ul>\n"


def _text(text: str) -> str:
    return escape(printable(text))
