"""Imports point one way, from the command line down to the wire format, and in no circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import envelope_codec

ROOT = Path(envelope_codec.__file__).parent
PACKAGE = ROOT.name

ROOMS = ("", "keys", "_settings", "config", "temporal", "storage", "plugin", "server", "cli")
"""Each may import those before it, and itself. The first is whatever lies at the top and has no place of its own."""


def modules() -> dict[str, Path]:
    found = {}
    for path in ROOT.rglob("*.py"):
        name = ".".join((PACKAGE, *path.relative_to(ROOT).with_suffix("").parts))
        found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def room(module: str) -> int:
    """The place of ``module`` in `ROOMS`."""
    part = module.removeprefix(f"{PACKAGE}.").partition(".")[0]
    return ROOMS.index(part) if part in ROOMS else 0


def imports(module: str) -> set[str]:
    """The modules of the library that ``module`` names in an import, inside of functions too."""
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    return {target for node in tree.body for target in _targets(node)}


def _targets(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and module_is_lazy(node):
        return
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            if full in MODULES or node.module in MODULES:
                yield full if full in MODULES else str(node.module)
    elif isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in MODULES)
    for child in ast.iter_child_nodes(node):
        yield from _targets(child)


def module_is_lazy(node: ast.If) -> bool:
    """Whether ``node`` is the block of the top-level package, whose names are loaded when they are used."""
    return "EnvelopePlugin" in ast.unparse(node) and "Keyring" in ast.unparse(node)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_module_imports_from_a_room_above_its_own(module: str) -> None:
    above = {target for target in imports(module) if room(target) > room(module) and target != PACKAGE}
    assert above == set(), f"{module} is in {ROOMS[room(module)] or 'the lowest room'}"


def test_there_is_no_circle_of_modules() -> None:
    graph = {module: imports(module) - {PACKAGE} for module in MODULES}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize(
    "module", ["keys", *(f"keys.{path.stem}" for path in sorted((ROOT / "keys").glob("[a-z]*.py")))]
)
def test_the_keys_know_no_temporal(module: str) -> None:
    code = f"import sys, {PACKAGE}.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "temporalio" not in done.stdout.split()
    assert f"{PACKAGE}.config" not in done.stdout.split()


def test_no_module_has_the_name_of_one_of_pythons() -> None:
    names = {part for module in MODULES for part in module.split(".")}
    assert names & set(sys.stdlib_module_names) == set()


def test_every_import_rule_is_needed() -> None:
    """Each room but the top one is there, and is imported from above: else the rule above would hold nothing."""
    for number, name in enumerate(ROOMS[1:-1], start=1):
        users = {module for module in MODULES if room(module) > number}
        assert any(room(target) == number for module in users for target in imports(module)), name
