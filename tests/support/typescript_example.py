"""The example in TypeScript: built, and its worker and client as processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "typescript"
SECONDS = 90.0
"""How long to wait for what must happen. Reached only where it does not."""


def build() -> None:
    """Compile the example. Skips the test if it is not installed, or fails where all servers are required."""
    compiler = FOLDER / "node_modules" / ".bin" / "tsc"
    if shutil.which("node") is None or not compiler.exists():
        missing = "no example in TypeScript: run `make typescript` (it needs Node 20 or later, with npm)"
        if os.environ.get("ENVELOPE_REQUIRE_SERVERS") == "1":
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    done = subprocess.run([compiler], cwd=FOLDER, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout


def run(*arguments: str, **settings: str) -> str:
    """What ``node`` prints, run in the example's folder with these arguments and settings of the environment."""
    done = subprocess.run(
        ["node", *arguments], cwd=FOLDER, env=_environment(settings), capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def working(log: Path, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """The worker of the example's tests, until the end. It must not end before."""
    with log.open("wb") as stream:
        worker = subprocess.Popen(
            ["node", "lib/test/worker.js"], cwd=FOLDER, env=_environment(settings), stdout=stream, stderr=stream
        )
    try:
        deadline = time.monotonic() + SECONDS
        while "ready" not in log.read_text("utf-8").splitlines():
            assert worker.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < deadline, log.read_text("utf-8")
            time.sleep(0.05)
        yield worker
        assert worker.poll() is None, log.read_text("utf-8")
    finally:
        worker.kill()
        worker.wait(SECONDS)


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, **settings}
