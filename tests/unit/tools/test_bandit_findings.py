"""A finding is accepted for a reason alone, and a reason that is no longer needed is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.bandit_findings import FOLDERS, LINES, RULES, Finding, judge, read


@pytest.fixture(autouse=True)
def nothing_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.bandit_findings.LINES", {("a.py", "B105", '"x"'): "why"})
    monkeypatch.setattr("tools.bandit_findings.FOLDERS", {("suites", "B101"): "why"})


def finding(rule: str, code: str, file: str = "b.py") -> Finding:
    return Finding(rule, file, 7, code, "bandit's words")


LISTED = [finding("B105", 'token = "x"', "a.py"), finding("B101", "assert one", "suites/one.py")]


@pytest.mark.parametrize(
    "code", ["assert x  # noqa: S101 - it comes first", "assert x  # noqa: S105, S101, S110 - a reason"]
)
def test_a_finding_with_a_reason_is_accepted(code: str) -> None:
    assert judge([*LISTED, finding("B101", code)]) == []


@pytest.mark.parametrize(
    "found",
    [
        finding("B101", "assert x"),
        finding("B101", "assert x  # noqa: S101"),
        finding("B101", "assert x  # noqa: S101 - "),
        finding("B101", "assert x  # noqa: S105 - of another rule"),
        finding("B101", "assert x  # noqa: S1010 - of another rule"),
        finding("B105", 'token = "y"', "a.py"),
        finding("B106", 'token = "x"', "a.py"),
        finding("B101", "assert x", "suites.py"),
    ],
)
def test_any_other_is_told(found: Finding) -> None:
    assert judge([*LISTED, found]) == [f"{found.file}:7: {found.rule} bandit's words"]


def test_what_is_accepted_and_not_found_is_told() -> None:
    assert judge(LISTED[1:]) == ["a.py: B105 is accepted and not found: take it from the list"]


def test_a_finding_is_read_with_all_its_lines() -> None:
    one = {"test_id": "B101", "filename": "./a.py", "line_number": 2, "line_range": [2, 3], "issue_text": "words"}
    report = {"errors": [], "results": [one]}
    assert read(report, {"a.py": ["1", "2", "3"]}) == [Finding("B101", "a.py", 2, "2\n3", "words")]


def test_a_file_that_bandit_can_not_read_is_no_good_news() -> None:
    with pytest.raises(ValueError, match="syntax"):
        read({"errors": [{"reason": "syntax error"}], "results": []}, {})


def test_what_is_accepted_is_in_the_code() -> None:
    root = Path(__file__).resolve().parents[3]
    for file, _, text in LINES:
        assert text in (root / file).read_text("utf-8")
    assert all((root / folder).is_dir() for folder, _ in FOLDERS)
    assert all([*RULES.values(), *LINES.values(), *FOLDERS.values()])
