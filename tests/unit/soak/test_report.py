"""The report: figures, violations, the command that repeats the run."""

from __future__ import annotations

import json
from pathlib import Path

from tests.soak.report import Report


def test_it_says_that_the_invariant_held(tmp_path: Path) -> None:
    report = Report('make soak ARGS="--minutes 1 --seed 4"')
    report.add("workflows", started=12_000, ended_right=12_000)
    report.hold(True, "never said")
    report.hold_none("never said", [])
    report.save(tmp_path / "report.json")
    assert "12,000" in report.text()
    assert "The invariant held." in report.text()
    assert report.command in report.text()
    assert json.loads((tmp_path / "report.json").read_text()) == {
        "command": report.command,
        "figures": {"workflows": {"started": 12_000, "ended_right": 12_000}},
        "violations": [],
    }


def test_it_says_what_was_violated() -> None:
    report = Report("again")
    report.hold(False, "no history was read")
    report.hold_none("not the right result", [f"soak-{number}" for number in range(9)])
    assert report.violations == [
        "no history was read",
        "not the right result: soak-0; soak-1; soak-2; soak-3; soak-4, and 4 more",
    ]
    assert "2 violations." in report.text()
