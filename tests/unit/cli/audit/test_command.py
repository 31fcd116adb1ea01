"""The command line of ``audit``: what is wrong with it is one line, and has a status of its own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from envelope_codec.cli import main
from envelope_codec.cli.audit.command import INCOMPLETE, NEEDED, _status
from envelope_codec.cli.audit.findings import Findings
from envelope_codec.cli.audit.key_name import KeyName
from envelope_codec.cli.audit.report import Report
from tests.support.audit_findings import findings, found
from tests.support.audited_payloads import record


class Told(NamedTuple):
    status: object
    complained: str


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Told:
    with pytest.raises(SystemExit) as left:
        main(["audit", *arguments])
    return Told(left.value.code, capsys.readouterr().err)


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEMPORAL_ADDRESS", "TEMPORAL_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no Temporal server is named: give --address or --profile"),
        (("--address", "nowhere"), "has no port"),
        (("--address", "a:1", "--json", "--csv"), "choose one of --json and --csv"),
        (("--address", "a:1", "--as-of", "2026-12-24T18:00:00"), "give a time with its zone"),
        (("--address", "a:1", "--wait", "-1"), "--wait"),
        (("--address", "a:1", "--rate", "0"), "--rate"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = run(capsys, *arguments)
    assert told.status == 2
    assert said in told.complained


def test_no_answer_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    told = run(capsys, "--address", "127.0.0.1:1")
    assert told.status == 1
    assert told.complained.startswith("envelope-codec: stopped: no connection to 127.0.0.1:1")
    assert told.complained.count("\n") == 1


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes").write_text("notes\n")
    told = run(capsys, "--address", "127.0.0.1:1", "--checkpoint", str(tmp_path / "notes"))
    assert told.status == 1
    assert "is no checkpoint of an audit: name another file, or delete it" in told.complained


def complete(new: int = 0) -> Findings:
    return findings(found("a", record("OLD")), found("b", record("NEW", created=2_000)), new=new)


def incomplete() -> Findings:
    return complete(new=1)


@pytest.mark.parametrize(
    ("of", "key", "status"),
    [
        (complete(), None, 0),
        (incomplete(), None, INCOMPLETE),
        (complete(), "OLD", NEEDED),
        (incomplete(), "OLD", NEEDED),
        (complete(), "localfile:///nowhere/key.json", INCOMPLETE),
        (complete(), "OLDD", INCOMPLETE),
        (complete(), "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", 0),
        (incomplete(), "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", INCOMPLETE),
    ],
)
def test_each_outcome_has_a_status(of: Findings, key: str | None, status: int) -> None:
    name = KeyName(key) if key is not None else None
    asked = name.choose(of.whole) if name is not None else ()
    report = Report(of, "a:1", "default", asked=asked)
    assert _status(report, name, asked) == status
