"""The pictures of the documents are those that their scripts draw, and each is shown on a page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
PICTURES = sorted((ROOT / "docs" / "pictures").glob("*.svg"))
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]


def test_every_picture_is_up_to_date() -> None:
    command = [sys.executable, "-m", "tools.pictures.draw", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), f"run: python -m tools.pictures.draw\n{done.stdout}"


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_a_picture_has_a_title_and_is_readable_in_dark_mode(picture: Path) -> None:
    text = picture.read_text("utf-8")
    title = ElementTree.fromstring(text).find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert title.text
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_a_picture_is_shown_on_a_page(picture: Path) -> None:
    assert any(f"pictures/{picture.name})" in page.read_text("utf-8") for page in PAGES)
