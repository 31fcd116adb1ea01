"""The command line of ``audit``: what is wrong with it is one line, and has a status of its own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import typer

from envelope_codec.cli import main
from envelope_codec.cli.audit.command import INCOMPLETE, NEEDED, _status, _write_page
from envelope_codec.cli.audit.findings import Findings
from envelope_codec.cli.audit.key_name import KeyName
from envelope_codec.cli.audit.report import Report
from envelope_codec.cli.keygen import create_key_file, key_uri
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
        (("--address", "a:1", "--html", "/no/such/folder/report.html"), "no file can be written there"),
        (("--address", "a:1", "--html", "/"), "no file can be written there"),
        (("--address", "a:1", "--import"), "name a configuration with a keystore"),
        (("--address", "a:1", "--ask-kms"), "name a configuration with master keys"),
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


def test_an_import_needs_a_keystore_in_its_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create_key_file(tmp_path / "key.json")
    (tmp_path / "envelope.toml").write_text(f'key = "{key_uri(tmp_path / "key.json")}"')
    told = run(capsys, "--address", "a:1", "--import", "--config", str(tmp_path / "envelope.toml"))
    assert told.status == 2
    assert "name a configuration with a keystore" in told.complained


def test_the_page_is_for_its_owner(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    _write_page(page, Report(complete(), "a:1", "default"))
    assert page.stat().st_mode & 0o777 == 0o600
    assert page.read_text(encoding="utf-8").endswith("</html>\n")


def test_a_page_that_can_t_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as left:
        _write_page(tmp_path, Report(complete(), "a:1", "default"))
    assert left.value.exit_code == 1
    assert "can't write" in capsys.readouterr().err


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
        (complete(), "awskms:///arn:aws:kms:us-east-1:111122223333:alias/envelope", INCOMPLETE),
        (complete(), "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", 0),
        (incomplete(), "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", INCOMPLETE),
    ],
)
def test_each_outcome_has_a_status(of: Findings, key: str | None, status: int) -> None:
    name = KeyName(key) if key is not None else None
    asked = name.choose(of.whole) if name is not None else ()
    doubt = name.find_doubt(asked, of.whole) if name is not None else ""
    report = Report(of, "a:1", "default", asked=asked, doubt=doubt)
    assert _status(report, asked) == status
    assert status != INCOMPLETE or not any("disable it" in " ".join(report.verdicts[one].sentences) for one in asked)
