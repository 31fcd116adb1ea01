"""What ``audit`` prints, for people and for programs."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterator
from typing import Any, TextIO

from envelope_codec.cli.audit.findings import Findings
from envelope_codec.cli.audit.need import KeyVersion, Need
from envelope_codec.cli.audit.rewrapped import Rewrapped
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.cli.audit.verdict import Verdict, date_text, find_gaps, judge_key, unseen
from envelope_codec.cli.audit.window import Part, timestamp
from envelope_codec.cli.output import Page, plural, printable
from envelope_codec.cli.payloads.kind import Kind

FORMAT = "envelope-codec/audit-report-1"

_COLUMNS = (
    *("key_id", "key_version", "payloads", "payloads_of_no_other_key", "workflows", "wrapping_keys"),
    *("direct_payloads", "oldest", "newest", "seals_now", "state", "verdict"),
)
NAMES = ("Key", "Version", "Payloads", "Workflows", "Wrapping keys", "Oldest", "Newest", "Seals now")
"""The columns of the table for people."""

_PARTS = {Part.closed: "closed", Part.open: "open", Part.since: "started since"}

_FORMULA = ("=", "+", "-", "@")


class Report:
    """The report of one audit.

    Args:
        findings: what was found.
        server: the address of the server.
        namespace: the namespace.
        condition: the query, if not all workflows were wanted.
        asked: key ids of which a verdict is wanted, whether or not they were found.
        doubt: why these may not be what the user means; empty if they are.
        rewrapped: how far the keystore takes the place of the keys asked for. None if that was not to be seen.
    """

    def __init__(
        self,
        findings: Findings,
        server: str,
        namespace: str,
        condition: str = "",
        asked: tuple[str, ...] = (),
        doubt: str = "",
        rewrapped: Rewrapped | None = None,
    ) -> None:
        self.findings = findings
        self.rewrapped = rewrapped
        self.whole = findings.whole
        self.gaps = find_gaps(findings, condition=condition)
        self.server, self.namespace, self.condition = server, namespace, condition
        ids = dict.fromkeys([*sorted({key.key_id for key in self.whole.needs}), *asked])
        doubts = {one: [f"as for this key, {doubt}"] for one in asked if doubt}
        self.verdicts: dict[str, Verdict] = {
            one: judge_key(one, findings, gaps=[*self.gaps, *doubts.get(one, ())]) for one in ids
        }

    def document(self) -> dict[str, Any]:
        """Make the JSON document. docs/command-line.md says what its names mean."""
        whole, findings = self.whole, self.findings
        return {
            "format": FORMAT,
            "server": self.server,
            "namespace": self.namespace,
            "query": self.condition,
            "as_of": timestamp(findings.as_of),
            "open_workflows_read_at": timestamp(findings.read_at),
            "complete": not self.gaps,
            "gaps": self.gaps,
            "unseen": unseen(findings),
            "keys": [self._key_document(key_id) for key_id in self.verdicts],
            "parts": {part.value: _part_document(tally) for part, tally in findings.parts.items()},
            "others": _part_document(findings.others),
            "stores": {name: _part_document(tally) for name, tally in findings.stores.items()},
            "payloads": dict(sorted(whole.kinds.items())),
            "clear_by_encoding": dict(sorted(whole.clear.items())),
            "foreign_by_encoding": dict(sorted(whole.foreign.items())),
            "unreadable_by_reason": dict(sorted(whole.unreadable.items())),
            "failures_in_clear": whole.failures,
            "first_in_clear": whole.first_clear,
            "first_places": dict(sorted(whole.places.items())),
            "left_out": whole.own,
            "references": dict(sorted(whole.behind.items())),
            "unread": dict(sorted(whole.unread.items())),
            "rewrapped": self.rewrapped.document() if self.rewrapped is not None else None,
            "imported": findings.imported.counts() if findings.imported is not None else None,
        }

    def write_csv(self, stream: TextIO) -> None:
        """Write a line for each version of each master key."""
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for key, need in self.rows():
            verdict = self._judge_version(key) if need.payloads else self.verdicts[key.key_id]
            texts = (key.key_id, key.version)
            numbers = (need.payloads, need.sole, need.runs, len(need.ids), need.purposes["direct"])
            dates = (_date(need.oldest), _date(need.newest), _yes(self.whole.seals(key.key_id, key.version)))
            writer.writerow(
                [*map(_cell, texts), *numbers, *dates, verdict.state.value, _cell("; ".join(verdict.sentences))]
            )

    def print(self, page: Page) -> None:
        """Print the report for people."""
        findings = self.findings
        page.heading(f"Master keys that namespace {self.namespace} needs, as of {timestamp(findings.as_of)}")
        numbers = {key_id: number for number, key_id in enumerate(self.verdicts, 1)}
        page.table(NAMES, ([str(numbers[row[0].key_id]), *self.cells(row)] for row in self.rows()))
        for number, (key_id, verdict) in enumerate(self.verdicts.items(), 1):
            page.heading(f"{number}. {key_id}")
            for sentence in (*verdict.sentences, *self.by_version(key_id), *self.witness(key_id)):
                page.fact("", sentence, column=0, indent=5)
        if self.rewrapped is not None:
            page.heading("Without the old master key")
            for sentence in self.rewrapped.sentences(unseen(findings)):
                page.fact("", sentence, column=0)
        page.heading("Besides")
        page.facts(self.besides())
        page.heading("Complete" if not self.gaps else "Incomplete")
        for gap in self.gaps:
            page.fact("", gap, column=0, style="yellow")
        for what, why in sorted(self.whole.unread.items()):
            page.fact("", f"{what}: {why}", column=0)
        page.fact("can't be seen", ", ".join(unseen(findings)))

    def rows(self) -> Iterator[tuple[KeyVersion, Need]]:
        """Yield what is needed of each version of each key."""
        for key_id in self.verdicts:
            versions = sorted((key for key in self.whole.needs if key.key_id == key_id), key=lambda key: key.version)
            for key in versions or [KeyVersion(key_id, "")]:
                yield key, self.whole.needs.get(key, Need())

    def cells(self, row: tuple[KeyVersion, Need]) -> list[str]:
        """Write a row for people: all of `NAMES` but the first."""
        key, need = row
        numbers = [f"{number:,}" for number in (need.payloads, need.runs, len(need.ids))]
        dates = [_date(need.oldest), _date(need.newest), _yes(self.whole.seals(key.key_id, key.version))]
        return [key.version or ("not told" if need.payloads else "none"), *numbers, *dates]

    def besides(self) -> Iterator[tuple[str, str]]:
        """Yield what else was found: a name, and words."""
        whole, findings = self.whole, self.findings
        for part, tally in findings.parts.items():
            gone = f", {tally.gone} gone meanwhile" if tally.gone else ""
            when = f", as they were at {timestamp(findings.read_at)} or later" if part is Part.open else ""
            yield _PARTS[part], f"{plural(tally.sources, 'workflow')}{when}{gone}"
        yield "others", f"{findings.others.sources} schedules, standalone activities and operations"
        if whole.own:
            yield "left out", f"{plural(whole.own, 'run')} of audits and rewraps themselves"
        first = f", first in {whole.first_clear}" if whole.first_clear else ""
        clear = plural(whole.kinds[Kind.clear.value], "payload")
        yield "in clear", f"{clear} and {plural(whole.failures, 'failure')}{first}"
        for label, counts in (("of other codecs", whole.foreign), ("not readable", whole.unreadable)):
            for name, number in sorted(counts.items()):
                place = f", first in {whole.places[name]}" if name in whole.places else ""
                yield label, f"{plural(number, 'payload')}: {name}{place}"
        for whose, number in sorted(whole.behind.items()):
            yield "references", f"{number} to {'a datastore' if whose == 'ours' else 'what other drivers keep'}"
        for line in self._imports():
            yield "imported", line

    def by_version(self, key_id: str) -> Iterator[str]:
        """Give the verdict on each version of a key that has several."""
        versions = [key for key, _ in self.rows() if key.key_id == key_id]
        for key in versions if len(versions) > 1 else ():
            yield f"version {key.version or 'not told'}: {'; '.join(self._judge_version(key).sentences)}"

    def _judge_version(self, key: KeyVersion) -> Verdict:
        return judge_key(key.key_id, self.findings, gaps=self.gaps, version=key.version)

    def witness(self, key_id: str) -> tuple[str, ...]:
        """Say what the KMS says of this key, if it was asked."""
        return tuple(filter(None, [self.findings.witnesses.get(key_id)]))

    def _imports(self) -> Iterator[str]:
        imported = self.findings.imported
        if imported is not None:
            held = f"{plural(imported.extended, 'row')} extended, {plural(imported.known, 'row')} had all"
            yield f"{plural(imported.added, 'row')} made, {held}"
            if imported.full:
                yield f"{plural(imported.full, 'row')} had no room for all recipients"
            if imported.foreign:
                yield f"{plural(imported.foreign, 'row')} left as found: this release can't read them"
            if imported.left:
                yield f"{plural(imported.left, 'record')} left out: too many"

    def _version_document(self, key: KeyVersion) -> dict[str, Any]:
        verdict = self._judge_version(key)
        return {
            "verdict": list(verdict.sentences),
            "needed_until": date_text(verdict.until) if verdict.until else None,
            "seals_now": self.whole.seals(key.key_id, key.version),
        }

    def _key_document(self, key_id: str) -> dict[str, Any]:
        verdict = self.verdicts[key_id]
        return {
            "key_id": key_id,
            "state": verdict.state.value,
            "verdict": list(verdict.sentences),
            "needed_until": date_text(verdict.until) if verdict.until else None,
            "seals_now": self.whole.seals(key_id),
            "kms": self.findings.witnesses.get(key_id),
            "versions": [
                {"key_version": key.version, **_need_document(need), **self._version_document(key)}
                for key, need in self.rows()
                if key.key_id == key_id and need.payloads
            ],
        }


def _part_document(tally: Tally) -> dict[str, Any]:
    keys = [{**key._asdict(), **_need_document(need)} for key, need in sorted(tally.needs.items())]
    return {"read": tally.sources, "gone": tally.gone, "keys": keys}


def _need_document(need: Need) -> dict[str, Any]:
    return {
        "payloads": need.payloads,
        "payloads_of_no_other_key": need.sole,
        "workflows": need.runs,
        "wrapping_keys": len(need.ids),
        "purposes": dict(sorted(need.purposes.items())),
        "oldest": _date(need.oldest),
        "newest": _date(need.newest),
        "examples": need.examples,
    }


def _date(seconds: int | None) -> str:
    return "" if seconds is None else date_text(seconds)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _cell(text: str) -> str:
    """Make ``text`` harmless for a spreadsheet, which would take some for a formula."""
    shown = printable(text)
    plain = unicodedata.normalize("NFKC", shown).lstrip()  # some take a wide sign or one after blanks for the same
    return f"'{shown}" if plain.startswith(_FORMULA) else shown
