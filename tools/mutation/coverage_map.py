"""Which test runs which lines, and how long a processor works for it: measured once, by all tests."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tools.mutation.scope import ROOT, SCRATCH, TESTS, modules, own_tests

_FILE = SCRATCH / "coverage.json"
_NEW = SCRATCH / "coverage-new.json"
OPTIONS = (
    "-q",
    "-s",
    "-m",
    "not slow and not nightly",
    "-p",
    "no:cacheprovider",
    "--no-header",
    "--no-summary",
    "-W",
    "ignore",
)


class CoverageMap(NamedTuple):
    """What tests run.

    Attributes:
        seconds: of a processor, for each test.
        lines: for each module and line, the tests that ran it.
    """

    seconds: dict[str, float]
    lines: dict[str, dict[int, list[str]]]

    def tests_of(self, module: str, first: int, last: int) -> list[str]:
        """Return the tests that run one of these lines, the most telling ones first.

        Those are the module's own, then those that run most lines of it.
        """
        of_module = self.lines.get(module, {})
        found = {test for line in range(first, last + 1) for test in of_module.get(line, ())}
        breadth: defaultdict[str, int] = defaultdict(int)
        for tests in of_module.values():
            for test in tests:
                breadth[test] += 1
        own = own_tests(module)

        def rank(test: str) -> tuple[bool, bool, int, str]:
            return self.seconds[test] > 1.0, not test.startswith(own), -breadth[test], test

        return sorted(found, key=rank)

    def own(self, module: str) -> list[str]:
        """Return a module's own tests, then all that run any line of it: for what runs while it is imported."""
        tests = {test for of_line in self.lines.get(module, {}).values() for test in of_line}
        own = own_tests(module)
        return sorted(tests, key=lambda test: (self.seconds[test] > 1.0, not test.startswith(own), test))


def measured() -> CoverageMap:
    """Return what tests run. Those of a file that has changed are measured anew; all are, if the code has changed."""
    code = _digest("envelope_codec", "tests/support", "tests/vectors")
    files = {path: _digest(path) for path in _test_files()}
    known: dict[str, Any] = {"code": code, "files": {}}
    if _FILE.exists() and (kept := json.loads(_FILE.read_text("utf-8")))["code"] == code:
        known = kept
    of_file = known["files"]
    known["files"] = {path: of_file[path] for path in files if of_file.get(path, {}).get("digest") == files[path]}
    if missing := [path for path in files if path not in known["files"]]:
        _FILE.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "tools.mutation.coverage_map", str(_NEW), *missing]
        if os.spawnve(os.P_WAIT, sys.executable, command, {**os.environ, "COVERAGE_CORE": "ctrace"}):
            sys.exit("Tests fail without any mutation, or could not be run: see above.")
        for path, found in json.loads(_NEW.read_text("utf-8")).items():
            known["files"][path] = {"digest": files[path], **found}
        _FILE.write_text(json.dumps(known), "utf-8")
    return _merged(known["files"].values())


def _merged(files: Iterable[Mapping[str, Any]]) -> CoverageMap:
    seconds: dict[str, float] = {}
    lines: defaultdict[str, defaultdict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        names = list(file["seconds"])
        seconds.update(file["seconds"])
        for module, of_module in file["lines"].items():
            for line, tests in of_module.items():
                lines[module][int(line)] += [names[at] for at in tests]
    return CoverageMap(seconds, {module: dict(of_module) for module, of_module in lines.items()})


def _test_files() -> list[str]:
    named = [ROOT / test for test in TESTS]
    files = [path for name in named for path in (sorted(name.glob("test_*.py")) if name.is_dir() else [name])]
    return [path.relative_to(ROOT).as_posix() for path in files]


def _digest(*names: str) -> str:
    """A hash of files, or of all code and vectors in folders."""
    digest = hashlib.sha256(sys.version.encode())
    for name in names:
        path = ROOT / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in (".py", ".json"):
                digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


class _Measure:
    """Names each test to coverage while it runs."""

    def __init__(self, coverage: Any) -> None:
        self._coverage = coverage
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._coverage.switch_context(item.nodeid)
        begun = _processor()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = round(_processor() - begun, 3)
            self._coverage.switch_context("")


def _processor() -> float:
    """Seconds of a processor so far, those of processes that have ended with them."""
    return sum(os.times()[:4])


def _measure(result: Path, tests: Sequence[str]) -> int:
    """Run tests, and write for each of their files what they take and what they run."""
    import coverage

    counting = coverage.Coverage(
        data_file=None, branch=False, config_file=False, include=[str(ROOT / module) for module in modules()]
    )
    counting.start()
    for module in modules():
        importlib.import_module(module.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    plugin = _Measure(counting)
    status = pytest.main([*OPTIONS, *tests], plugins=[plugin])
    counting.stop()
    if status not in (0, 5):  # 5: all tests of these files are slow ones
        return int(status)
    data = counting.get_data()
    files: dict[str, dict[str, Any]] = {test: {"seconds": {}, "lines": defaultdict(dict)} for test in tests}
    places: dict[str, tuple[str, int]] = {}
    for name, seconds in plugin.seconds.items():
        file = name.partition("::")[0]
        places[name] = file, len(files[file]["seconds"])
        files[file]["seconds"][name] = seconds
    for module in modules():
        for line, contexts in sorted(data.contexts_by_lineno(str(ROOT / module)).items()):
            for context in sorted(contexts):
                if context in places:
                    file, number = places[context]
                    files[file]["lines"][module].setdefault(line, []).append(number)
    result.write_text(json.dumps(files), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(_measure(Path(sys.argv[1]), sys.argv[2:]))
