"""Run tests over mutants: collect the tests once, then fork for each mutant."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest

from tools.mutation.children import Children, Result, Task
from tools.mutation.coverage_map import OPTIONS, CoverageMap
from tools.mutation.mutants import Mutant
from tools.mutation.patch import Instead, Loaded, swap
from tools.mutation.scope import TESTS

ENOUGH = 20.0
"""Seconds of a processor: no more tests are run over one mutant than take so long. The others are left out."""


def tasks_of(mutants: Sequence[Mutant], covered: CoverageMap) -> Iterator[Task]:
    """Yield a task for each mutant, with the most telling tests first."""
    for mutant in mutants:
        yield _task(mutant, covered.tests_of(mutant.module, mutant.first, mutant.last), covered)


def _task(mutant: Mutant, found: Sequence[str], covered: CoverageMap) -> Task:
    tests: list[str] = []
    seconds = 0.0
    for test in found:
        if seconds > ENOUGH:
            break
        seconds += covered.seconds[test]
        tests.append(test)
    return Task(mutant, tests, seconds)


def run(tasks: Sequence[Task], jobs: int, tell: Callable[[Result], None]) -> None:
    """Run the tasks whose mutants can be put into functions that are loaded. The outcome of the others is ``anew``."""
    loop = _Loop(tasks, jobs, tell)
    status = pytest.main([*OPTIONS, *TESTS], plugins=[loop])
    if not loop.done:
        sys.exit(f"pytest ended with {status}, before anything was run.")


def run_anew(tasks: Sequence[Task], covered: CoverageMap, jobs: int, tell: Callable[[Result], None]) -> None:
    """Run each task in a process that imports the library anew, with the mutant in it.

    What runs while a module is imported is covered by no test of its own: then all tests of the module are run.
    """
    tasks = [task if task.tests else _task(task.mutant, covered.own(task.mutant.module), covered) for task in tasks]
    for name in (
        "temporalio.client",
        "temporalio.worker",
        "hypothesis",
        "google.cloud.kms",
        "cryptography",
        "pydantic",
    ):
        importlib.import_module(name)  # so that each child finds them loaded

    def child(task: Task, said: int) -> None:
        Instead(task.mutant).install()
        files = sorted({test.partition("::")[0] for test in task.tests})
        chosen = _Chosen(task.tests)
        if pytest.main([*OPTIONS, *files], plugins=[chosen, _Teller(said)]) not in (0, 5):
            _say(said, "!import")

    Children(jobs, child, tell).run(tasks)


class _Loop:
    """Runs mutants in place of pytest's own loop, once pytest has collected the tests."""

    def __init__(self, tasks: Sequence[Task], jobs: int, tell: Callable[[Result], None]) -> None:
        self._tasks = tasks
        self._jobs = jobs
        self._tell = tell
        self.done = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        gc.collect()
        loaded = Loaded.now()
        gc.freeze()

        def child(task: Task, said: int) -> None:
            if not swap(task.mutant, loaded):
                _say(said, "!anew")
                return
            session.config.pluginmanager.register(_Teller(said))
            chosen = [items[test] for test in task.tests if test in items]
            for item, following in zip(chosen, [*chosen[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)

        Children(self._jobs, child, self._tell).run(self._tasks)
        self.done = True
        return True


class _Teller:
    """Says through a pipe which test begins, and ends the process at the first that fails."""

    def __init__(self, said: int) -> None:
        self._said = said
        self._test = ""

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._test = nodeid
        _say(self._said, nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            _say(self._said, "!failed")
            os._exit(0)


class _Chosen:
    """Has pytest run some tests alone, in a given order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._places = {test: at for at, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._places), key=lambda item: self._places[item.nodeid]
        )


def _say(said: int, words: str) -> None:
    os.write(said, words.encode() + b"\n")
