"""The codes of findings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from envelope_codec.cli.doctor.finding import Code


def test_every_finding_is_explained_on_the_page_of_commands() -> None:
    page = (Path(__file__).parents[4] / "docs" / "command-line.md").read_text("utf-8")
    for code in Code:
        assert f"| `{code.value}` |" in page
    explained: Sequence[str] = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert {one for one in explained if "-" in one and not one.startswith("-")} >= {code.value for code in Code}
