"""The newest SDK that is allowed is tried if it is not the pinned one."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tools import newest
from tools.newest import Unknown, allowed, newest_allowed, pinned_version

ROOT = Path(__file__).resolve().parents[3]
RANGE = Requirement("temporalio>=1.35,<2")


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, status: int = 0) -> None:
    """Have a program stand for Python with pip, which says what a package index has."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho '{said}'\nexit {status}\n", "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))


def test_the_newest_release_in_the_range_is_taken() -> None:
    versions = [Version(text) for text in ("2.0.0", "1.36.0rc1", "1.9.0", "1.35.2", "1.35.10", "1.34.0")]
    assert newest_allowed(versions, RANGE) == Version("1.35.10")
    with pytest.raises(Unknown, match="no version fits"):
        newest_allowed([Version("2.1")], RANGE)


def test_range_and_pin_are_read_from_the_projects_own_files() -> None:
    requirement = allowed((ROOT / "pyproject.toml").read_text("utf-8"))
    pinned = pinned_version((ROOT / "requirements/dev.txt").read_text("utf-8"))
    assert requirement.name == "temporalio"
    assert requirement.specifier.contains(pinned)
    for read in (allowed, pinned_version):
        with pytest.raises(ValueError, match="temporalio"):
            read("")


def test_nothing_is_tried_if_the_newest_is_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pinned = pinned_version((ROOT / "requirements/dev.txt").read_text("utf-8"))
    index(tmp_path, monkeypatch, f"temporalio ({pinned})\nAvailable versions: {pinned}, 1.0.0")
    assert newest.main([]) == 0
    assert f"temporalio {pinned}, which is pinned, is the newest" in capsys.readouterr().out


def test_a_newer_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    index(tmp_path, monkeypatch, "temporalio (1.99.0)\nAvailable versions: 2.1.0, 1.99.0, 1.35.0")
    assert newest.main(["--tell"]) == 0
    assert "temporalio 1.99.0 is allowed and newer than" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "status"), [(["--tell"], 0), ([], 1)])
def test_an_index_that_does_not_tell_is_no_reason_to_fail_where_nothing_is_tried(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
) -> None:
    index(tmp_path, monkeypatch, "", status=1)
    assert newest.main(arguments) == status
    assert "can't be found out: no answer" in capsys.readouterr().err


def test_what_is_tried_is_there() -> None:
    assert all((ROOT / name).exists() for name in newest.TESTS)
