"""Processes that run tests over one mutant each."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import shutil
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.mutation.mutants import Mutant

BUSY = 15.0
"""Seconds of a processor that the tests of a mutant may take beyond three times what they take without it."""
IDLE = 15.0
"""Seconds in which nothing in a process wants a processor, after which it hangs."""

_MEMORY = 8 << 30
_POLL = 0.1


class Result(NamedTuple):
    """What came of a mutant: ``killed``, ``timeout`` (killed as well), ``survived``, ``uncovered`` (by any test), or
    ``anew`` (not run yet: it has to be imported)."""

    mutant: Mutant
    outcome: str
    test: str = ""


class Task(NamedTuple):
    """A mutant and the tests that are to notice it."""

    mutant: Mutant
    tests: list[str]
    seconds: float


class _Child:
    """One mutant in a process of its own."""

    def __init__(self, task: Task, body: Callable[[Task, int], None]) -> None:
        self.task = task
        self.folder = tempfile.mkdtemp(prefix="mutant-")
        self.heard, said = os.pipe()
        self._words = b""
        self.pid = os.fork()
        if not self.pid:
            _be_child(task, body, said, self.folder)
        os.close(said)
        self._awake = time.monotonic()

    def read(self) -> None:
        while select.select([self.heard], [], [], 0)[0] and (part := os.read(self.heard, 65_536)):
            self._words += part

    def result(self) -> Result | None:
        """What came of it, None while that is open. The outcome ``anew`` says that it has to be imported."""
        self.read()
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        if not ended:
            if not self._hangs():
                return None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.read()
        lines = self._words.decode().splitlines()
        tests = [line for line in lines if not line.startswith("!")]
        last = tests[-1] if tests else ""
        if not ended or os.WIFSIGNALED(status):
            return Result(self.task.mutant, "timeout" if not ended else "killed", last)
        if "!anew" in lines:
            return Result(self.task.mutant, "anew")
        if os.WEXITSTATUS(status) or "!failed" in lines or "!import" in lines:
            return Result(self.task.mutant, "killed", last or "at import")
        return Result(self.task.mutant, "survived" if tests else "uncovered")

    def close(self) -> None:
        os.close(self.heard)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # what tests have started
        shutil.rmtree(self.folder, ignore_errors=True)

    def _hangs(self) -> bool:
        """Whether it has used up its time, or nothing in it has wanted a processor for long."""
        used = 0.0
        try:
            for thread in Path(f"/proc/{self.pid}/task").iterdir():
                fields = (thread / "stat").read_text("utf-8").rpartition(")")[2].split()
                used += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                if fields[0] != "S":
                    self._awake = time.monotonic()
        except OSError:
            return False
        if used > BUSY + 3 * self.task.seconds:
            return True
        return time.monotonic() - self._awake > IDLE


def _be_child(task: Task, body: Callable[[Task, int], None], said: int, folder: str) -> None:
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        os.environ["PYTEST_DEBUG_TEMPROOT"] = folder
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        body(task, said)
    except BaseException:
        os._exit(1)
    os._exit(0)


class Children:
    """Runs tasks, some at a time."""

    def __init__(self, jobs: int, body: Callable[[Task, int], None], tell: Callable[[Result], None]) -> None:
        self._jobs = jobs
        self._body = body
        self._tell = tell

    def run(self, tasks: Sequence[Task]) -> None:
        """Run tasks, and tell what came of each."""
        waiting = deque(tasks)
        running: list[_Child] = []
        try:
            while waiting or running:
                while waiting and len(running) < self._jobs:
                    running.append(_Child(waiting.popleft(), self._body))
                select.select([child.heard for child in running], [], [], _POLL)
                for child in list(running):
                    if (result := child.result()) is None:
                        continue
                    running.remove(child)
                    child.close()
                    self._tell(result)
        finally:
            for child in running:
                child.close()
