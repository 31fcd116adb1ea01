"""The README leads somewhere from the page of a package index, too."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import tomli

ROOT = Path(__file__).resolve().parents[3]
REPOSITORY = "https://git.example.com/project"


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The build hook, which is no part of the package."""
    monkeypatch.syspath_prepend(ROOT)
    yield import_module("hatch_build")
    sys.modules.pop("hatch_build", None)


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        ("[a](docs/a.md#b)", f"[a]({REPOSITORY}/blob/v1/docs/a.md#b)"),
        ("![a](docs/a.svg)", f"![a]({REPOSITORY}/raw/v1/docs/a.svg)"),
        ("[a](https://example.com/a)", "[a](https://example.com/a)"),
        ("[a](mailto:a@example.com)", "[a](mailto:a@example.com)"),
        ("[a](#here)", "[a](#here)"),
        ("[a](A.md), [b](B.md)", f"[a]({REPOSITORY}/blob/v1/A.md), [b]({REPOSITORY}/blob/v1/B.md)"),
    ],
)
def test_a_path_of_the_repository_becomes_an_address(hook: Any, written: str, becomes: str) -> None:
    assert hook.absolute(written, REPOSITORY, "v1") == becomes


def test_the_readme_has_no_relative_link_left(hook: Any) -> None:
    metadata: dict[str, Any] = {"urls": {"Source": REPOSITORY}, "version": "1.2.3"}
    hook.LongDescription(str(ROOT), {}).update(metadata)
    text = metadata["readme"]["text"]
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    assert len([target for target in targets if target.startswith(f"{REPOSITORY}/blob/v1.2.3/")]) > 20
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert pictures
    for picture in pictures:
        assert picture.startswith(f"{REPOSITORY}/raw/v1.2.3/")
        assert (ROOT / picture.removeprefix(f"{REPOSITORY}/raw/v1.2.3/")).is_file()


def test_every_address_of_the_project_is_below_its_repository() -> None:
    urls = tomli.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
    assert [url for url in urls.values() if not url.startswith(urls["Source"])] == []
