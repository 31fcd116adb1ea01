"""The command line as such: help, errors as one line, completion, the exit status, and what it imports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

import envelope_codec
from envelope_codec import cli
from envelope_codec.errors import ConfigurationError, KmsUnavailable
from tests.support.missing_package import WITHOUT
from tests.support.terminal import run_on_terminal


class Outcome(NamedTuple):
    status: object
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as left:
            cli.main([str(argument) for argument in arguments])
        return Outcome(left.value.code or 0, *capsys.readouterr())

    return run


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)


def test_version(run: Any) -> None:
    outcome = run("--version")
    assert (outcome.status, outcome.out) == (0, f"envelope-codec {envelope_codec.__version__}\n")


def test_help_names_every_command(run: Any) -> None:
    outcome = run("--help")
    assert outcome.status == 0
    for command in cli.COMMANDS:
        assert command in outcome.out


@pytest.mark.parametrize("arguments", [["kegen"], ["keygen"], ["keygen", "--nothing"], ["--nothing"]])
def test_wrong_usage_is_status_2(run: Any, arguments: list[str]) -> None:
    outcome = run(*arguments)
    assert outcome.status == 2
    assert "Usage" in outcome.err


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError('it needs pip install "temporal-envelope-codec[aws]"\nand a second line'),
        KmsUnavailable("time-out"),
    ],
)
def test_an_error_of_a_command_is_one_line_and_status_1(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    def fail(path: str) -> None:
        raise error

    monkeypatch.setattr("envelope_codec.cli.keygen.keygen", fail)
    outcome = run("keygen", "x")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == f"envelope-codec: {' '.join(str(error).splitlines())}\n"


@pytest.mark.parametrize("arguments", [["keygen", "x"], ["--version"], ["--help"], []])
def test_without_its_extra_it_says_how_to_install_it(arguments: list[str]) -> None:
    outcome = python(WITHOUT.format(missing="typer"), *arguments)
    assert outcome.returncode == 2
    assert outcome.stdout == ""
    assert outcome.stderr == (
        'envelope-codec: the command line needs its extra: pip install "temporal-envelope-codec[cli]"\n'
    )


def test_another_missing_module_is_not_blamed_on_the_extra() -> None:
    outcome = python(WITHOUT.format(missing="envelope_codec_local"), "keygen", "x")
    assert outcome.returncode == 1
    assert "No module named 'envelope_codec_local'" in outcome.stderr
    assert "cli]" not in outcome.stderr


def test_the_installed_script_runs_the_command_line() -> None:
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="envelope-codec")
    assert script.load() is cli.run


# Help

HELPS: tuple[list[str], ...] = (
    [],
    ["audit"],
    ["demo"],
    ["demo-rekey"],
    ["doctor"],
    ["inspect"],
    ["keygen"],
    ["keystore"],
    ["keystore", "ddl"],
    ["keystore", "check"],
    ["keystore", "export"],
    ["keystore", "import"],
    ["rewrap"],
    ["serve"],
    ["storage"],
    ["storage", "ddl"],
    ["storage", "check"],
    ["storage", "stats"],
    ["storage", "gc"],
    ["token"],
)


@pytest.mark.parametrize("command", HELPS, ids=" ".join)
def test_help_reads_well_at_80_columns(run: Any, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    outcome = run(*command, "--help")
    assert (outcome.status, outcome.err) == (0, "")
    assert run(*command, "-h") == outcome
    usage, *lines = outcome.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line.endswith("...")], "nothing is cut short"
    text = re.split(r"^(?:Arguments|Options|Commands):$", outcome.out.removeprefix(usage), flags=re.MULTILINE)[0]
    for paragraph in text.strip("\n").split("\n\n"):
        for line, following in pairwise(paragraph.splitlines()):
            word = following.split()[0]
            assert len(f"{line} {word}") > 78, f"{word!r} has room at the end of {line!r}"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_list_of_commands_says_what_each_says_itself(name: str) -> None:
    command = cli.COMMANDS[name]
    function = getattr(import_module(f"envelope_codec.cli.{command.module}"), name.replace("-", "_"))
    own = function.info.help if isinstance(function, typer.Typer) else function.__doc__
    assert own is not None
    assert own.partition("\n")[0] == command.summary


def test_the_demo_is_offered_only_where_it_can_run(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "  demo " in run("--help").out
    monkeypatch.setattr("envelope_codec.cli.checkout.DEVSTACK", tmp_path)
    monkeypatch.setattr("envelope_codec.cli.demo.servers.DEVSTACK", tmp_path)
    assert "demo" not in run("--help").out
    outcome = run("demo")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("envelope-codec: the demo can't run: it starts servers with a script that only a")
    assert outcome.err.count("\n") == 1


# Completion

SEEN = """
import atexit, sys
atexit.register(lambda: print(sorted({"temporalio", "rich", "boto3"} & sys.modules.keys()), file=sys.stderr))
from envelope_codec.cli import main
main()
"""


def complete(line: str, shell: str = "bash") -> tuple[list[str], str]:
    """What a shell is offered for ``line``, and which of some packages were imported for it."""
    asked = {
        "_ENVELOPE_CODEC_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    if shell == "zsh":
        asked = {"_ENVELOPE_CODEC_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}
    done = subprocess.run(
        [sys.executable, "-c", SEEN], env={**os.environ, **asked}, capture_output=True, text=True, timeout=60
    )
    return done.stdout.splitlines(), done.stderr.splitlines()[-1]


def test_names_of_commands_are_completed_from_names_alone() -> None:
    assert complete("envelope-codec s") == (["serve", "storage"], "[]")


def test_what_follows_a_command_is_completed_by_that_command() -> None:
    assert complete("envelope-codec storage s")[0] == ["stats"]
    assert complete("envelope-codec keygen --ro") == (["--rotate"], "[]")


def test_another_shell_is_answered_too() -> None:
    offered, imported = complete("envelope-codec do", "zsh")
    assert "doctor" in " ".join(offered)
    assert "temporalio" not in imported


def test_the_script_for_a_shell_is_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SEEN, "--show-completion"],
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    # Without a shell above it, typer can't tell which script is wanted, and says so.
    assert "_ENVELOPE_CODEC_COMPLETE" in done.stdout or "not supported" in done.stderr + done.stdout


# A terminal


@pytest.mark.parametrize(
    ("arguments", "status", "environment"),
    [
        (["--help"], 0, {}),
        (["doctor", "--help"], 0, {}),
        (["doctor", "--nothing"], 2, {}),
        (["kegen"], 2, {}),
        (["doctor", "what://k"], 1, {}),
        (["inspect", "{file}"], 1, {}),
        (["storage", "stats"], 0, {"ENVELOPE_CODEC_KEY": "what://k", "ENVELOPE_CODEC_STORAGE": "file://{folder}"}),
    ],
)
def test_no_color_leaves_no_escape_codes(
    arguments: list[str], status: int, environment: Mapping[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "x.json"
    file.write_text('{"metadata": {"encoding": "!"}}')
    names = {"file": file, "folder": tmp_path}
    shown = run_on_terminal(
        [argument.format(**names) for argument in arguments],
        {**{name: value.format(**names) for name, value in environment.items()}, "NO_COLOR": "1"},
    )
    assert shown.status == status, shown.text
    assert "\x1b" not in shown.text
    assert shown.text.count("\n") > 1


# The end of the process

LOADED = "import temporalio.bridge.runtime\n"
"""As it is in every command that asks a Temporal server, whose threads may abort an interpreter that ends."""


def run_process(code: str, *arguments: str, stdout: Any = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    ends = "import atexit, sys\natexit.register(print, 'ended', file=sys.stderr)\n"
    command = [sys.executable, "-c", f"{ends}{code}from envelope_codec.cli import run\nrun()", *arguments]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=60, env=buffered
    )


@pytest.mark.parametrize(("arguments", "status"), [(["--version"], 0), (["no-such-command"], 2), (["keygen"], 2)])
def test_the_interpreter_does_not_end_where_the_sdk_is_loaded(arguments: list[str], status: int) -> None:
    with_sdk = run_process(LOADED, *arguments)
    assert with_sdk.returncode == status
    assert "ended" not in with_sdk.stderr
    assert (with_sdk.stdout if status == 0 else with_sdk.stderr) != ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_an_error() -> None:
    with Path("/dev/full").open("w") as full:
        assert run_process(LOADED, "--version", stdout=full).returncode != 0
