"""The report: for people, as JSON, and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import replace

import pytest

from envelope_codec.cli.audit.findings import Findings
from envelope_codec.cli.audit.record_import import Imported
from envelope_codec.cli.audit.report import Report
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.cli.output import Page
from tests.support.audit_findings import CLOSE, findings, found
from tests.support.audited_payloads import record

ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OLD, NEW = record(ARN, version="2"), record("NEW", created=CLOSE.__trunc__())


def made(new: int = 0) -> Findings:
    return findings(found("a", OLD, close=CLOSE, payloads=1_204), found("b", NEW), new=new)


def report(of: Findings | None = None, *asked: str) -> Report:
    return Report(of or made(), "server:7233", "billing", asked=asked)


def test_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    report(None, "GONE").print(Page())
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "Master keys that namespace billing needs, as of 2023-11-14T22:21:40.000Z"
    assert lines[1:5] == [
        "Key Version Payloads Workflows Wrapping keys Oldest Newest Seals now",
        "1 not told 1 1 1 2023-11-14 2023-11-14 yes",
        "2 2 1,204 1 1 1970-01-01 1970-01-01 no",
        "3 none 0 0 0 no",
    ]
    assert f"2. {ARN}" in lines, "a key id is whole, so that it can be copied"
    assert "still needed by 1,204 payloads in 1 workflow until about 2023-12-14 (retention)" in lines
    assert "no history needs it: disable it, watch for a week, then delete" in lines
    assert "Complete" in lines
    assert any("backups" in line for line in lines)


def test_a_key_of_several_versions_has_a_verdict_on_each(capsys: pytest.CaptureFixture[str]) -> None:
    later = record(ARN, version="3", created=9_000)
    of = findings(found("a", OLD, close=CLOSE), found("b", later))
    report(of).print(Page())
    shown = " ".join(capsys.readouterr().out.split())
    assert "version 2: still needed by 1 payload in 1 workflow until about 2023-12-14 (retention)" in shown
    assert "version 3: needed by open workflows: 1 payload in 1 workflow ('b'); it seals now" in shown
    [key] = report(of).document()["keys"]
    assert [(one["key_version"], one["needed_until"], one["seals_now"]) for one in key["versions"]] == [
        ("2", "2023-12-14", False),
        ("3", None, True),
    ]
    assert key["needed_until"] is None
    stream = io.StringIO()
    report(of).write_csv(stream)
    verdicts = [line["verdict"] for line in csv.DictReader(io.StringIO(stream.getvalue()))]
    assert [verdict.partition(" by ")[0] for verdict in verdicts] == ["still needed", "needed"]
    assert not any(report().by_version(ARN)), "of one version, the verdict on the key says it all"


def test_where_something_can_t_be_read_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    opened = Tally(unreadable=Counter({"why": 2}), foreign=Counter({"binary/zlib": 1, "binary/x": 1}))
    opened.note_place("why", "workflow 'a'")
    opened.note_place("binary/zlib", "workflow 'b'")
    of = findings(None, opened)
    report(of).print(Page())
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "not readable 2 payloads: why, first in workflow 'a'" in lines
    assert "of other codecs 1 payload: binary/x" in lines
    assert "1 payload: binary/zlib, first in workflow 'b'" in " ".join(lines)
    assert report(of).document()["first_places"] == {"binary/zlib": "workflow 'b'", "why": "workflow 'a'"}
    assert any(line.startswith("open 0 workflows, as they were at 2023-11-14T22:23:20.000Z") for line in lines)


def test_what_is_hostile_is_made_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    report(findings(found("\x1b[31m", record("\x1b]0;owned\x07[red]")))).print(Page())
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "[red]" in shown


def test_as_json() -> None:
    document = json.loads(json.dumps(report(made(new=1), "GONE").document()))
    assert [(key["key_id"], key["state"], key["seals_now"]) for key in document["keys"]] == [
        ("NEW", "needed", True),
        (ARN, "needed", False),
        ("GONE", "unknown", False),
    ]
    assert document["keys"][1]["versions"][0]["payloads"] == 1_204
    assert document["keys"][1]["needed_until"] == "2023-12-14"
    assert (document["complete"], len(document["gaps"])) == (False, 1)
    assert list(document["parts"]) == ["closed", "open", "since"]


def test_what_was_imported_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    of = replace(made(), imported=Imported(added=3, extended=1, known=2, full=1, foreign=1, left=4))
    report(of).print(Page())
    shown = " ".join(capsys.readouterr().out.split())
    for said in (
        "3 rows made, 1 row extended, 2 rows had all",
        "1 row had no room for all recipients",
        "1 row left as found: this release can't read them",
        "4 records left out: too many",
    ):
        assert said in shown
    assert report(of).document()["imported"]["added"] == 3
    assert report().document()["imported"] is None


@pytest.mark.parametrize(
    "text", ["=1", "+1", "-1", "@x", " =1", "\N{FULLWIDTH EQUALS SIGN}1", "\N{FULLWIDTH COMMERCIAL AT}x"]
)
def test_no_spreadsheet_takes_a_key_id_for_a_formula(text: str) -> None:
    stream = io.StringIO()
    report(findings(found("a", record(text)))).write_csv(stream)
    [line] = csv.DictReader(io.StringIO(stream.getvalue()))
    assert line["key_id"] == f"'{text}"


def test_as_csv() -> None:
    stream = io.StringIO()
    report(findings(found("a", record("=cmd()"), OLD, close=CLOSE))).write_csv(stream)
    first, second = csv.DictReader(io.StringIO(stream.getvalue()))
    assert first["key_id"] == "'=cmd()", "no spreadsheet takes it for a formula"
    assert (second["key_id"], second["key_version"], second["payloads"], second["state"]) == (ARN, "2", "1", "needed")
    assert second["verdict"].startswith("still needed by 1 payload in 1 workflow until about")
