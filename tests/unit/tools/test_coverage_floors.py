"""What is below its floor is told, and ends with status 1."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tools import coverage_floors
from tools.coverage_floors import ALL_SUITES, Counts, Floors, by_room, failures, room

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[3]
ROOMS = {"envelope_codec/keys": 95.0, "envelope_codec/temporal": 95.0}
GOOD = {"envelope_codec/keys": Counts(100, 100, 100, 95), "envelope_codec/temporal": Counts(100, 100, 100, 96)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("envelope_codec/envelope.py", "envelope_codec/envelope.py"),
        ("envelope_codec/errors.py", "envelope_codec"),
        ("envelope_codec/keys/lease.py", "envelope_codec/keys"),
        ("envelope_codec/cli/doctor/survey.py", "envelope_codec/cli"),
        ("providers/envelope_codec_aws/_errors.py", "envelope_codec_aws"),
    ],
)
def test_files_are_counted_to_their_room(name: str, expected: str) -> None:
    assert room(name) == expected


def summary(**counts: int) -> dict[str, Any]:
    return {"summary": {"num_statements": 10, "covered_lines": 9, "num_branches": 4, "covered_branches": 3, **counts}}


def test_the_files_of_a_room_are_added_up() -> None:
    report = {"files": {"envelope_codec/keys/a.py": summary(), "envelope_codec/keys/b.py": summary(covered_branches=4)}}
    rooms = by_room(report)
    assert rooms == {"envelope_codec/keys": Counts(20, 18, 8, 7)}
    assert rooms["envelope_codec/keys"].of_branches == 87.5
    assert rooms["envelope_codec/keys"].all == pytest.approx(100 * 25 / 28)


def test_nothing_is_told_at_the_floor_itself() -> None:
    assert failures(GOOD, Floors(90.0, ROOMS)) == []


def test_a_room_below_its_floor_and_one_that_is_not_there_are_told() -> None:
    assert failures({"envelope_codec/keys": Counts(100, 100, 100, 94)}, Floors(0.0, ROOMS)) == [
        "envelope_codec/keys: 94.00 % of its branches, and 95 % is the floor",
        "envelope_codec/temporal: 0.00 % of its branches, and 95 % is the floor",
    ]


def test_all_together_have_a_floor_of_their_own() -> None:
    [line] = failures({**GOOD, "envelope_codec/cli": Counts(1_000, 100, 0, 0)}, Floors(90.0, ROOMS))
    assert line.startswith("all together: ")


def test_the_command_prints_the_figures_and_its_status_says_whether_they_suffice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    named = [name if name.endswith(".py") else f"{name}/a.py" for name in ALL_SUITES.rooms]
    files = {name: summary(covered_branches=4) for name in named}
    files["envelope_codec/cli/a.py"] = summary(covered_lines=0, covered_branches=0)
    report.write_text(json.dumps({"files": files}))
    assert coverage_floors.main([str(report), "--unit"]) == 0
    assert coverage_floors.main([str(report)]) == 1
    shown = capsys.readouterr()
    assert "envelope_codec/cli                 0.00%     0.00%" in shown.out
    assert shown.err.startswith("below its floor: all together: ")


def test_every_package_of_the_wheel_is_measured() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    packages = settings["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert settings["coverage"]["run"]["source_pkgs"] == [Path(package).name for package in packages]
