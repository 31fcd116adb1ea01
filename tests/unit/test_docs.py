"""The documents say what the code does."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("tests/vectors/*.md")]


def test_the_page_of_settings_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import make_configuration  # type: ignore[import-not-found]

    assert make_configuration.PAGE.read_text("utf-8") == make_configuration.page()
    sys.modules.pop("make_configuration")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    text = document.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_toml_snippet_is_a_valid_configuration(document: Path, tmp_path: Path) -> None:
    from envelope_codec import EnvelopeConfig

    for number, snippet in enumerate(re.findall(r"```toml\n(.*?)```", document.read_text("utf-8"), re.DOTALL)):
        file = tmp_path / f"{number}.toml"
        file.write_text(snippet, "utf-8")
        EnvelopeConfig.from_file(file)
