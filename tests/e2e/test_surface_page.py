"""The page of Temporal's corners names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from test_surface import CORNERS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "temporal-corners.md"


def test_every_letter_on_the_page_stands_for_a_test() -> None:
    text = PAGE.read_text("utf-8")
    tests = {letter: (name, file) for letter, name, file in re.findall(r"\| (\w) \| `(.+?)` \| `(.+?)` \|", text)}
    cells = re.findall(r"^\|.*\| ([A-Z](?:, [A-Z])*) \|$", text, re.MULTILINE)
    assert len(cells) > 30
    assert {letter for cell in cells for letter in cell.split(", ")} | {"B", "K"} == set(tests)
    corners = set()
    for name, file in tests.values():
        function, _, corner = name.rstrip("]").partition("[")
        assert f"def {function}(" in (ROOT / file).read_text("utf-8")
        corners |= {corner} - {""}
    assert corners == set(CORNERS)


def test_every_row_with_a_corner_has_a_test() -> None:
    for section in ("Workflows", "Activities", "Schedules", "Nexus", "What Temporal writes in clear itself"):
        body = PAGE.read_text("utf-8").split(f"## {section}\n")[1].split("\n## ")[0]
        table = body[body.index("| corner" if "| corner" in body else "| payload") :].split("\n\n")[0]
        for row in table.splitlines()[2:]:
            assert re.search(r"\| [A-Z](, [A-Z])* \|$", row), row
