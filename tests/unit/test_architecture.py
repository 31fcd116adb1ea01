"""The map names modules and classes that exist."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "envelope_codec"
MAP = [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs" / "pictures").glob("*.svg"))]
FILE = r"(?<![\w/.-])((?:\w+/)*\w+\.py)\b"


def names_of(module: Path) -> set[str]:
    tree = ast.parse(module.read_text("utf-8"))
    return {
        node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }


def module_of(name: str) -> Path | None:
    """The module that a name such as ``keys/lease.py`` or ``lease.py`` stands for."""
    if name.startswith(("envelope_codec/", "tests/", "tools/")):
        return ROOT / name
    found = PACKAGE / name
    return found if found.exists() else next(iter(PACKAGE.rglob(f"*/{name}")), None)


@pytest.mark.parametrize("page", MAP, ids=lambda path: path.stem)
def test_every_module_on_the_map_exists(page: Path) -> None:
    named = set(re.findall(FILE, page.read_text("utf-8")))
    missing = {name for name in named if (module := module_of(name)) is None or not module.exists()}
    assert missing == set()


@pytest.mark.parametrize("page", MAP, ids=lambda path: path.stem)
def test_what_a_module_is_said_to_hold_is_in_it(page: Path) -> None:
    said = re.findall(FILE + r"`?: `?(\w+)(?:\.(\w+))?", page.read_text("utf-8"))
    for name, holder, member in said:
        module = module_of(name)
        assert module is not None
        if holder[0].isupper() or f"def {holder}(" in module.read_text("utf-8"):
            assert {holder, member} - {""} <= names_of(module), (name, holder, member)


def test_the_map_is_looked_at() -> None:
    text = "".join(page.read_text("utf-8") for page in MAP)
    assert len(set(re.findall(FILE, text))) > 15
    assert len(re.findall(FILE + r": [A-Z]\w+", text)) > 5


@pytest.mark.parametrize(
    ("picture", "module", "name"),
    [
        ("sealing-key-states", "envelope_codec.keys.sealing_key", "Stage"),
        ("lease-states", "envelope_codec.keys.lease", "LeaseState"),
        ("breaker-states", "envelope_codec.keys.breaker", "BreakerState"),
    ],
)
def test_a_picture_of_states_has_those_of_the_code(picture: str, module: str, name: str) -> None:
    drawn = (ROOT / "docs" / "pictures" / f"{picture}.svg").read_text("utf-8")
    states = getattr(import_module(module), name)
    titles = {title.partition(",")[0] for title in re.findall(r'<text class="title middle"[^>]*>([^<]*)<', drawn)}
    assert titles == {state.name for state in states}


def test_the_threads_on_the_map_are_those_of_the_code() -> None:
    folders = (PACKAGE, ROOT / "providers")
    sources = "".join(path.read_text("utf-8") for folder in folders for path in folder.rglob("*.py"))
    started = set(re.findall(r'name(?:_prefix)?="(envelope-codec-[a-z0-9]+)"', sources))
    assert set(re.findall(r"`(envelope-codec-[a-z0-9]+)`", MAP[0].read_text("utf-8"))) == started
