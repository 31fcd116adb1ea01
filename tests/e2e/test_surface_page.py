"""The page of Temporal's corners names tests that exist."""

from __future__ import annotations

import re

from tests.e2e.test_surface import CORNERS
from tests.support.documented_tests import ROOT, missing, named_tests

PAGE = ROOT / "docs" / "temporal-corners.md"


def test_every_letter_on_the_page_stands_for_a_test() -> None:
    tests = named_tests(PAGE)
    cells = re.findall(r"^\|.*\| ([A-Z](?:, [A-Z])*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(cells) > 30
    assert {letter for cell in cells for letter in cell.split(", ")} | {"B", "K"} == set(tests)
    assert missing(tests) == []
    assert {name.rstrip("]").partition("[")[2] for name, _ in tests.values()} - {""} == set(CORNERS)


def test_every_row_with_a_corner_has_a_test() -> None:
    for section in ("Workflows", "Activities", "Schedules", "Nexus", "What Temporal writes in clear itself"):
        body = PAGE.read_text("utf-8").split(f"## {section}\n")[1].split("\n## ")[0]
        table = body[body.index("| corner" if "| corner" in body else "| payload") :].split("\n\n")[0]
        for row in table.splitlines()[2:]:
            assert re.search(r"\| [A-Z](, [A-Z])* \|$", row), row
