"""The list of mutants that survive fits the source, and every entry says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.mutation.coverage_map import CoverageMap
from tools.mutation.scope import ROOT, SURVIVORS, modules
from tools.mutation.survivors import Survivor, read, stale, write

ONE = Survivor("a.py", "f", "x = \"1\"\ny = '\\'", "x = 2", "equivalent", "nobody reads it")


def test_every_survivor_stands_in_the_source_that_is_mutated() -> None:
    survivors = read(SURVIVORS)
    assert survivors
    assert {survivor.module for survivor in survivors} <= set(modules())
    assert stale(ROOT, survivors) == []


def test_the_list_is_written_as_the_tool_writes_it(tmp_path: Path) -> None:
    write(tmp_path / "list.toml", read(SURVIVORS))
    assert (tmp_path / "list.toml").read_text("utf-8") == SURVIVORS.read_text("utf-8")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "list.toml"
    survivors = [ONE, ONE._replace(after="x = 3", verdict="unasserted", why="it says 'so'")]
    write(path, reversed(survivors))
    assert read(path) == survivors


@pytest.mark.parametrize(
    "wrong", [ONE._replace(verdict="fine"), ONE._replace(why="")], ids=["unknown verdict", "no reason"]
)
def test_an_entry_without_a_verdict_or_its_reason_is_refused(wrong: Survivor, tmp_path: Path) -> None:
    write(tmp_path / "list.toml", [wrong])
    with pytest.raises(ValueError, match="no verdict"):
        read(tmp_path / "list.toml")


def test_an_entry_that_stands_there_twice_or_lacks_something_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.toml"
    write(path, [ONE, ONE._replace(why="another reason")])
    with pytest.raises(ValueError, match="twice"):
        read(path)
    path.write_text('[[survivor]]\nmodule = "a.py"\n', "utf-8")
    with pytest.raises(ValueError, match="missing"):
        read(path)


def test_an_entry_whose_lines_have_changed_is_stale(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f():\n    x = \"1\"\n    y = '\\'\n", "utf-8")
    others = [ONE._replace(before="x = 1"), ONE._replace(before="y = '\\'\nx = \"1\""), ONE._replace(module="b.py")]
    assert stale(tmp_path, [ONE, *others]) == others


def test_a_modules_own_tests_come_first_then_those_that_run_most_of_it() -> None:
    own, broad, narrow, long = (
        "tests/unit/keys/test_lease.py::t",
        "tests/unit/keys/test_a.py::broad",
        "tests/unit/keys/test_b.py::narrow",
        "tests/unit/keys/test_lease.py::long",
    )
    module = "envelope_codec/keys/lease.py"
    lines = {module: {1: [broad, long], 2: [broad, own, long], 3: [narrow, broad, own, long], 9: [broad]}}
    covered = CoverageMap({own: 0.1, broad: 0.1, narrow: 0.1, long: 2.0}, lines)
    assert covered.tests_of(module, 2, 3) == [own, broad, narrow, long]
    assert covered.tests_of(module, 9, 9) == [broad]
    assert covered.tests_of(module, 4, 8) == []
