"""Every Python that is there is found, and those that are not are named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools import pythons

MINOR = sys.version_info[1]


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no Python at all: ``bin`` is its PATH, ``pyenv`` the folder of pyenv."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path


def test_path_comes_first_and_then_the_newest_of_pyenv(machine: Path) -> None:
    by_pyenv = [program(machine / f"pyenv/versions/3.12.{patch}/bin/python", "") for patch in (9, 10, 1)]
    program(machine / "pyenv/versions/3.13.1/bin/python", "")
    on_path = program(machine / "bin/python3.12", "")
    newest, middle, oldest = by_pyenv[1], by_pyenv[0], by_pyenv[2]
    assert pythons.candidates(12) == [str(on_path), str(newest), str(middle), str(oldest)]
    assert pythons.candidates(10) == []


def test_a_python_is_one_that_runs_and_is_of_the_version_that_is_asked_for(machine: Path) -> None:
    assert pythons.version(sys.executable, MINOR) == ".".join(map(str, sys.version_info[:3]))
    assert pythons.version(sys.executable, MINOR + 1) is None
    assert pythons.version(str(program(machine / "broken", "exit 1")), MINOR) is None
    assert pythons.version(str(machine / "missing"), MINOR) is None


@pytest.mark.parametrize(("status", "said"), [(0, "the unit tests pass"), (3, "FAILED with status 3")])
def test_the_status_is_that_of_the_tests_and_what_is_missing_is_named(
    machine: Path, capsys: pytest.CaptureFixture[str], status: int, said: str
) -> None:
    (machine / "bin").mkdir()
    (machine / f"bin/python3.{MINOR}").symlink_to(sys.executable)
    assert pythons.main([], lambda command, minor, arguments: status) == min(status, 1)
    out = capsys.readouterr().out
    assert said in out
    missing = [minor for minor in pythons.MINORS if minor != MINOR]
    assert missing
    assert all(f"Python 3.{minor} is not on this machine\n" in out for minor in missing)


def test_no_python_at_all_is_a_failure(machine: Path) -> None:
    assert pythons.main([]) == 1
