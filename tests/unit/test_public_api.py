"""The page of the public API names what there is."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

import envelope_codec

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "public-api.md").read_text("utf-8")
ROWS = re.findall(r"^\| `(envelope_codec[\w.]*)` \| (.+) \|$", PAGE, re.MULTILINE)


def test_the_page_has_a_table_of_modules() -> None:
    assert len(ROWS) > 15


@pytest.mark.parametrize(("module", "names"), ROWS, ids=[module for module, _ in ROWS])
def test_every_name_on_the_page_exists(module: str, names: str) -> None:
    home = import_module(module)
    told = [name for name in re.findall(r"`(\w+)`", names.partition(":")[0]) if name != "__all__"]
    assert [name for name in told if not hasattr(home, name)] == []


def test_what_the_package_exports_has_a_public_home_or_is_named_on_the_page() -> None:
    homes = {module for module, _ in ROWS}
    hidden = {name for name in envelope_codec.__all__ if getattr(envelope_codec, name).__module__ not in homes}
    assert all(f"`{name}`" in PAGE for name in hidden), hidden
