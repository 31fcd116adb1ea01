"""Every pinned version is looked up once, and nobody takes "nothing was looked up" for "nothing was found"."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from tools import advisories
from tools.advisories import NoAdvisories, in_rounds, read_pins, tell

ONE = "a==1 \\\n    --hash=sha256:00\nb[c]==2 ; python_full_version < '3.11' \\\n    --hash=sha256:00\n"
OTHER = "# by uv\nb==3 ; python_full_version >= '3.11' \\\n    --hash=sha256:00\na==1 \\\n    --hash=sha256:00\n"
BAD = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}, {"id": "X", "fix_versions": []}]}
GOOD = {"name": "b", "version": "2", "vulns": []}
SKIPPED = {"name": "c", "skip_reason": "not found"}


def test_each_version_is_looked_up_once_whatever_it_is_for() -> None:
    pins = read_pins([ONE, OTHER])
    assert pins == ["a==1", "b==2", "b==3"]
    assert list(in_rounds(pins)) == [["a==1", "b==2"], ["b==3"]]


def test_each_advisory_is_told() -> None:
    assert tell({"dependencies": [BAD, GOOD, SKIPPED]}) == [
        "a 1: CVE-1, mended in 2",
        "a 1: X, mended in no version",
    ]
    assert tell({"dependencies": []}) == []


def test_nothing_looked_up_is_no_good_news() -> None:
    with pytest.raises(NoAdvisories, match="not found"):
        tell({"dependencies": [SKIPPED, SKIPPED]})


@pytest.mark.parametrize(
    ("pypi", "osv", "required", "status", "said"),
    [
        ([BAD], None, False, 1, "at pypi: 2 advisories"),
        ([GOOD], [BAD], False, 1, "at osv: 2 advisories"),
        (None, None, False, 0, "NOT looked up"),
        ([SKIPPED], [GOOD], False, 0, "NOT looked up"),
        ([SKIPPED], None, True, 1, "NOT looked up"),
    ],
)
def test_a_service_is_believed_if_it_knows_what_there_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    pypi: list[dict[str, Any]] | None,
    osv: list[dict[str, Any]] | None,
    required: bool,
    status: int,
    said: str,
) -> None:
    """A program stands for Python with pip-audit. It tells of each service what is given here, or that it failed."""
    for name, pins in (("pypi", pypi), ("osv", osv)):
        if pins is not None:
            (tmp_path / name).write_text(json.dumps({"dependencies": pins}), "utf-8")
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\ncat "$(dirname "$0")/$8" || { echo unreachable >&2; exit 1; }\n', "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "pins.txt").write_text(ONE, "utf-8")
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setenv("ENVELOPE_REQUIRE_ADVISORIES", "1" if required else "")
    assert advisories.main([str(tmp_path / "pins.txt")]) == status
    out, err = capfd.readouterr()
    assert said in out + err
