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

ROOMS = ("", "keys", "metrics", "_settings", "config", "temporal", "storage", "plugin", "server", "cli")
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
    return set(_targets(ast.parse(MODULES[module].read_text("utf-8")), lazy=module == PACKAGE))


def _targets(node: ast.AST, *, lazy: bool = False) -> Iterator[str]:
    """The modules that are named below ``node``, also where only type checkers read it or a text names one.

    With ``lazy``, without the block for type checkers: the top-level package loads what it names there when it is used.
    """
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and lazy:
        return
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "logging.getLogger":
        return  # the text is the name of a logger
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            if full in MODULES:
                yield full
            elif node.module == PACKAGE and alias.name in envelope_codec.__all__:
                yield f"{PACKAGE}.{envelope_codec._HOMES.get(alias.name, 'errors')}"
            elif node.module in MODULES:
                yield str(node.module)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            assert alias.name != PACKAGE or alias.asname is None, "the package is imported by its own name"
            if alias.name in MODULES:
                yield alias.name
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == PACKAGE:
        if node.attr in envelope_codec.__all__:
            yield f"{PACKAGE}.{envelope_codec._HOMES.get(node.attr, 'errors')}"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        for named in (node.value, PACKAGE + node.value):  # as `import_module` takes it: absolute, or relative
            if named in MODULES and named != PACKAGE and node.value:
                yield named
    for child in ast.iter_child_nodes(node):
        yield from _targets(child, lazy=lazy)


EVASIONS = [
    "from envelope_codec.temporal.codec import EnvelopeCodec",
    "from envelope_codec.temporal import codec",
    "from envelope_codec import EnvelopeCodec",
    "import envelope_codec\ndef make(): return envelope_codec.EnvelopeCodec",
    "import envelope_codec.temporal.codec as codec",
    "def make():\n    from envelope_codec.temporal.codec import EnvelopeCodec",
    "if TYPE_CHECKING:\n    from envelope_codec.temporal.codec import EnvelopeCodec",
    "if TYPE_CHECKING:\n    from envelope_codec import Keyring, EnvelopePlugin, EnvelopeCodec",
    "import_module('envelope_codec.temporal.codec')",
    "import_module('.temporal.codec', 'envelope_codec')",
    "__import__('envelope_codec.temporal.codec')",
]


@pytest.mark.parametrize("source", EVASIONS)
def test_every_way_to_name_a_module_counts_as_an_import(source: str) -> None:
    assert f"{PACKAGE}.temporal.codec" in set(_targets(ast.parse(source)))


@pytest.mark.parametrize("source", ["from ..temporal import codec", "import envelope_codec as library"])
def test_imports_that_hide_what_they_name_are_refused(source: str) -> None:
    with pytest.raises(AssertionError):
        set(_targets(ast.parse(source)))


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


@pytest.mark.slow
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
