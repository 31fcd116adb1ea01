"""The threat model names tests that exist, one at least for each thing that somebody can't do."""

from __future__ import annotations

import re

from tests.support.documented_tests import ROOT, missing, named_tests

PAGE = ROOT / "docs" / "threat-model.md"
TEXT = PAGE.read_text("utf-8")
CODES = r"[A-Z]\d+(?:, [A-Z]\d+)*"


def test_every_test_on_the_page_exists() -> None:
    assert missing(named_tests(PAGE)) == []


def test_what_somebody_can_not_do_has_a_test() -> None:
    rows = re.findall(r"^\| (?:learn|change|stop|learn, change) \| (.+?) \| .+ \| (.*)\|$", TEXT, re.MULTILINE)
    assert len(rows) > 80
    assert {can for can, _ in rows} == {"no", "yes", "**yes**"}
    assert [row for row in rows if row[0] == "no" and not re.fullmatch(CODES, row[1].strip())] == []


def test_every_code_stands_for_a_test_and_every_test_is_referred_to() -> None:
    codes = {code for cell in re.findall(rf"\| ({CODES}) \|$", TEXT, re.MULTILINE) for code in cell.split(", ")}
    codes |= {code for words in re.findall(rf"\(({CODES})\)", TEXT) for code in words.split(", ")}
    assert codes == set(named_tests(PAGE))
