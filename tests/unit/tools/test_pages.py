"""The generated parts of the documents are what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import pages

PAGE = """# A page

By hand.

<!-- one: written by tools/pages.py -->
old
<!-- end of one -->
Between them.
<!-- two: written by tools/pages.py -->
<!-- end of two -->
The end.
"""


def test_every_page_is_in_step_with_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert pages.main(["--check"]) == 0, capsys.readouterr().out


def test_only_what_is_between_the_marks_is_replaced() -> None:
    parts = {"one": lambda: "new\n", "two": lambda: "more\n"}
    written = pages.in_step(PAGE, parts)
    assert "old" not in written
    assert all(text in written for text in ("# A page\n\nBy hand.\n", "Between them.\n", "The end.\n"))
    assert written.index("\nnew\n") < written.index("Between them.") < written.index("\nmore\n")
    assert pages.in_step(written, parts) == written


@pytest.mark.parametrize("lost", ["<!-- two: written by tools/pages.py -->\n", "<!-- end of two -->\n"])
def test_a_page_without_the_marks_of_a_part_is_an_error(lost: str) -> None:
    with pytest.raises(ValueError, match="'two'"):
        pages.in_step(PAGE.replace(lost, ""), {"two": lambda: "more\n"})


def test_a_page_that_is_behind_is_named_and_written_only_without_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.md").write_text(PAGE, "utf-8")
    monkeypatch.setattr(pages, "PARTS", {"page.md": {"one": lambda: "new\n"}})
    monkeypatch.setattr(pages, "FILES", {})
    assert pages.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().out == "page.md is behind the code: run make pages\n"
    assert (tmp_path / "page.md").read_text("utf-8") == PAGE
    assert pages.main([], tmp_path) == 0
    assert pages.main(["--check"], tmp_path) == 0
