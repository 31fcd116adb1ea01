"""Fuzz all targets for a time, two at once, and print what came of each: ``python -m tests.fuzz.run``.

A finding is an input for which something does not hold. It is written to a file, and the run fails.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.places import FINDINGS, FOUND, ROOT
from tests.fuzz.target import NAMES

PROCESSES = 2
_END = 3.0  # seconds that a process may take to end and to say what it did
_STATE = re.compile(r"^#(\d+)\s.*cov: (\d+) ft: (\d+) corp: (\d+)/", re.MULTILINE)
_EXECUTED = re.compile(r"^stat::number_of_executed_units:\s*(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Result:
    """What came of one target. Seconds are of the clock and of a processor; edges are branches of the library."""

    target: str
    executions: int
    seconds: float
    cpu: float
    corpus: int
    edges: int
    features: int
    status: int
    findings: Sequence[Path]
    log: Path

    @property
    def failed(self) -> bool:
        return self.status != 0 or bool(self.findings)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2.0, help="in all, of the clock (default 2)")
    parser.add_argument("--target", action="append", choices=NAMES, help="this one; may be given again")
    chosen = parser.parse_args()
    results = run(chosen.target or NAMES, 60 * chosen.minutes)
    print(_table(results))
    for result in filter(lambda result: result.failed, results):
        print(f"\n{result.target}: see {result.log.relative_to(ROOT)}")
        for path in result.findings:
            print(f"  {sys.executable} -m tests.fuzz.repeat {result.target} {path.relative_to(ROOT)}")
    return int(any(result.failed for result in results))


def run(names: Sequence[str], seconds: float) -> list[Result]:
    """Fuzz these targets, for so many seconds in all."""
    end = time.monotonic() + seconds - _END
    rows = [names[number::PROCESSES] for number in range(PROCESSES)]
    with ThreadPoolExecutor(PROCESSES) as pool:
        done = list(pool.map(lambda row: _run_row(row, end), rows))
    return sorted((result for row in done for result in row), key=lambda result: names.index(result.target))


def _run_row(names: Sequence[str], end: float) -> list[Result]:
    """Fuzz targets one after another. Each has its share of the time that is left."""
    left = range(len(names), 0, -1)
    return [_run_one(name, (end - time.monotonic()) / share) for name, share in zip(names, left, strict=True)]


def _run_one(name: str, seconds: float) -> Result:
    begun = time.monotonic()
    FINDINGS.mkdir(parents=True, exist_ok=True)
    before = set(FINDINGS.glob(f"{name}-*"))
    log = FOUND / f"{name}.log"
    with log.open("wb") as stream:
        command = [sys.executable, "-m", "tests.fuzz.session", name, f"{max(1.0, seconds):.0f}"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=stream)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_text("utf-8", "replace")
    states = _STATE.findall(text)
    last = [int(figure) for figure in states[-1]] if states else [0, 0, 0, 0]
    executed = _EXECUTED.search(text)
    return Result(
        name,
        int(executed[1]) if executed else last[0],
        time.monotonic() - begun,
        usage.ru_utime + usage.ru_stime,
        last[3],
        last[1],
        last[2],
        process.returncode,
        sorted(set(FINDINGS.glob(f"{name}-*")) - before),
        log,
    )


def _table(results: Sequence[Result]) -> str:
    lines = [
        f"{'target':16}{'executions':>12}{'seconds':>9}{'CPU s':>8}{'corpus':>8}{'edges':>7}{'features':>10}  findings"
    ]
    for one in results:
        found = str(len(one.findings)) if one.status == 0 or one.findings else f"it ended with status {one.status}"
        lines.append(
            f"{one.target:16}{one.executions:12,}{one.seconds:9.1f}{one.cpu:8.1f}{one.corpus:8,}{one.edges:7,}"
            f"{one.features:10,}  {found}"
        )
    total = f"{sum(one.executions for one in results):12,}{'':9}{sum(one.cpu for one in results):8.1f}"
    return "\n".join([*lines, f"{'all':16}{total}"])


if __name__ == "__main__":
    sys.exit(main())
