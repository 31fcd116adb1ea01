"""The documents say what the code does."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (".", "docs", "tests/vectors", "examples/typescript")
DOCUMENTS = [document for folder in FOLDERS for document in (ROOT / folder).glob("*.md")]

LONGEST_LINE = 128
LONGEST_CELL = 280


def prose(document: Path) -> str:
    """Return the text without blocks of code, in which `#` begins a comment."""
    return re.sub(r"^( *)```.*?^\1```", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """Return what `#…` may name: headings as GitHub spells them; one that comes again has a number after it."""
    found: set[str] = set()
    times: Counter[str] = Counter()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", prose(document), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(f"{slug}-{times[slug]}" if times[slug] else slug)
        times[slug] += 1
    return found


def broken_links(document: Path) -> list[str]:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = document.parent / path if path else document
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_file_or_heading_leads_somewhere(document: Path) -> None:
    assert broken_links(document) == []


def test_a_broken_link_and_a_broken_anchor_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `key` file, *too*\n\n## Twice\n\n## Twice\n\n```sh\n# not a heading\n```\n\n"
        "[a](#a-key-file-too) [b](page.md#twice-1) [c](https://example.com/#x) [d](mailto:a@example.com)\n"
        "[e](#twice-2) [f](gone.md) [g](page.md#not-a-heading)\n",
        "utf-8",
    )
    assert broken_links(page) == ["#twice-2", "gone.md", "page.md#not-a-heading"]


def unwieldy(document: Path) -> list[str]:
    """Return lines that are too long, and cells of tables that hold a paragraph. A link may be as long as it is."""
    found = []
    for line in prose(document).splitlines():
        if line.startswith("|"):
            found += [cell.strip() for cell in line.strip("|").split("|") if len(cell.strip()) > LONGEST_CELL]
        elif len(line) > LONGEST_LINE and " " in line.strip():
            found.append(line)
    return found


@pytest.mark.parametrize(
    "document",
    [document for document in DOCUMENTS if document.name != "CHANGELOG.md"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_line_and_no_cell_is_too_long(document: Path) -> None:
    assert unwieldy(document) == []


def test_a_long_line_and_a_long_cell_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    line, cell = "word " * 26, "word " * 60
    page.write_text(f"{line}\n\n| a | {cell} |\n\n```sh\n{line}\n```\nhttps://example.com/{'x' * 200}\n", "utf-8")
    assert unwieldy(page) == [line, cell.strip()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_toml_snippet_is_a_valid_configuration(document: Path, tmp_path: Path) -> None:
    from envelope_codec import EnvelopeConfig

    for number, snippet in enumerate(re.findall(r"```toml\n(.*?)```", document.read_text("utf-8"), re.DOTALL)):
        file = tmp_path / f"{number}.toml"
        file.write_text(snippet, "utf-8")
        EnvelopeConfig.from_file(file)
