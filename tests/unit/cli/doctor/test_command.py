"""The command ``envelope-codec doctor``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from envelope_codec.cli import main
from tests.support.doctor_runs import SECONDS
from tests.support.missing_package import WITHOUT

HANGS = """
import threading
from envelope_codec.cli import run
from envelope_codec.cli.keys import master_keys
from envelope_codec.testing import FakeKms

class Hanging(FakeKms):
    def wrap(self, secret, context):
        threading.Event().wait()

master_keys.master_key = lambda uri: Hanging()
run()
"""


def test_the_process_ends_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS, "doctor", "hanging://", "--timeout", "0.5"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "no-answer-in-time" in done.stdout
    assert done.stdout.endswith("2 pieces of advice.\n")


class Outcome(NamedTuple):
    status: object
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in [name for name in os.environ if name.startswith(("ENVELOPE_CODEC_", "TEMPORAL_"))]:
        monkeypatch.delenv(name)

    def run(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as left:
            main(["doctor", *arguments])
        return Outcome(left.value.code or 0, *capsys.readouterr())

    return run


def test_people_are_told_what_was_found(run: Run, uri: str) -> None:
    outcome = run(uri, "--namespace", "prod")
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[:8] == [
        "Configuration",
        "  from                the key that was named",
        "  sealing             on",
        "  require_encryption  off",
        "  wrapping            wrapping-key",
        "  compression         none",
        "",
        "Master keys",
    ]
    assert lines[8].startswith("  prod                key: localfile://")
    assert lines[9].startswith("                      wrap ok in ")
    assert ", unwrap ok in " in lines[9]
    assert "  advice    default-key-for-all: key" in lines
    assert lines[-1] == "  No problem, 2 pieces of advice."
    assert max(map(len, lines)) <= 100


def test_programs_are_told_the_same(run: Run, uri: str) -> None:
    outcome = run(uri, "--namespace", "prod", "--json")
    document = json.loads(outcome.out)
    assert document["format"] == "envelope-codec/doctor-1"
    assert (document["status"], document["server"], document["histories"]) == (0, None, [])
    assert document["configuration"] == {
        "sealing": True,
        "require_encryption": False,
        "wrapping": "wrapping-key",
        "compression": "none",
        "namespaces": ["prod"],
    }
    (key,) = document["keys"]
    for operation in ("wrap", "unwrap"):
        assert key[operation].pop("milliseconds") > 0
    assert key == {
        "namespace": "prod",
        "setting": "key",
        "key_id": key["key_id"],
        "wrap": {"outcome": "ok", "reason": ""},
        "unwrap": {"outcome": "ok", "reason": ""},
        "unwrapped_record_of_history": False,
    }
    assert [set(finding) for finding in document["findings"]] == [
        {"level", "code", "subject", "text", "fix", "words"}
    ] * 2


def test_problems_come_first_and_are_status_1(run: Run, tmp_path: Path) -> None:
    outcome = run(f"localfile://{tmp_path}/none")
    assert (outcome.status, outcome.err) == (1, "")
    findings = outcome.out.partition("\nFindings\n")[2]
    assert findings.startswith("  problem   provider-unusable: key\n")
    assert findings.endswith("  1 problem, 2 pieces of advice.\n")


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--config", "{folder}/none.toml"], {}, "can't read '{folder}/none.toml': No such file or directory"),
        ([], {"ENVELOPE_CODEC_SEALING": "maybe"}, "sealing"),
        ([], {"ENVELOPE_CODEC_KYE": "x"}, "ENVELOPE_CODEC_KYE: unknown setting; did you mean key?"),
        ([], {"ENVELOPE_CODEC_LEASE": "1m"}, "key: missing; give a key"),
    ],
)
def test_a_wrong_configuration_is_a_problem_that_names_the_setting(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    environment: dict[str, str],
    said: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    outcome = run(*(text.format(folder=tmp_path) for text in arguments), "--json")
    assert (outcome.status, outcome.err) == (1, "")
    document = json.loads(outcome.out)
    (finding,) = document["findings"]
    assert finding["code"] == "configuration-invalid"
    assert said.format(folder=tmp_path) in finding["text"]
    assert (document["status"], document["configuration"], document["keys"]) == (1, None, [])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "envelope-codec: nothing to examine: name a key, or a file with --config"),
        (["localfile:///k", "--profile", "no\x1bne"], "envelope-codec: the connection profile can't be loaded: "),
        (["localfile:///k", "--config", "f"], "KEY or --config, not both"),
        (["localfile:///k", "--address", "localhost"], "--address 'localhost' has no port: give HOST:PORT"),
        (["localfile:///k", "--timeout", "0"], "--timeout"),
        (["localfile:///k", "--nothing"], "No such option"),
    ],
)
def test_what_cannot_be_examined_is_status_2(run: Run, arguments: list[str], said: str) -> None:
    outcome = run(*arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert said in outcome.err
    assert "\x1b" not in outcome.err


def test_a_profile_that_cannot_be_read_is_not_quoted(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text('[profile.default]\napi_key = "marigold\n')
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "t.toml"))
    outcome = run("localfile:///k", "--profile", "default")
    assert outcome.status == 2
    assert "marigold" not in outcome.out + outcome.err
    assert outcome.err.count("\n") == 1


def test_nothing_from_elsewhere_reaches_the_terminal_as_it_is(run: Run, uri: str) -> None:
    hostile = "n\x1b[31m\x07\u202e[bold]\n"
    for options in ([], ["--json"]):
        outcome = run(uri, "--namespace", hostile, *options)
        assert (outcome.status, outcome.err) == (0, "")
        assert not [char for char in outcome.out if not char.isprintable() and char != "\n"]
    assert json.loads(outcome.out)["keys"][0]["namespace"] == hostile


@pytest.mark.parametrize(
    ("missing", "key", "extra"),
    [
        ("boto3", "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", "aws"),
        ("hvac", "hashivault://k?address=http://127.0.0.1:1", "vault"),
    ],
)
def test_a_missing_extra_is_told_with_its_pip_line(missing: str, key: str, extra: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing), "doctor", key, "--json"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert (done.returncode, done.stderr) == (1, "")
    finding = json.loads(done.stdout)["findings"][0]
    assert finding["code"] == "provider-unusable"
    assert finding["fix"] == f'pip install "temporal-envelope-codec[{extra}]"'
