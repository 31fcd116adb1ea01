"""Processes of ``envelope-codec worker``, as people run them, until each is stopped or killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60.0


class WorkerProcess:
    """One worker."""

    def __init__(self, options: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "envelope_codec.cli", "worker", *options],
                cwd=ROOT,
                env={name: value for name, value in os.environ.items() if not name.startswith("ENVELOPE_CODEC_")},
                stdout=stream,
                stderr=stream,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def said(self) -> str:
        """What it has printed so far."""
        return self._log.read_text("utf-8", "replace")

    def wait_until_it_serves(self) -> None:
        deadline = time.monotonic() + SECONDS
        while "serves " not in self.said():
            assert self._process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)

    def kill(self) -> None:
        """End it without a warning."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """End it in good order, if it runs. Return its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return self._process.returncode


@contextmanager
def worker_processes(number: int, options: Sequence[str], folder: Path) -> Iterator[list[WorkerProcess]]:
    """Run so many workers with these options. Their logs are in ``folder``."""
    workers = [WorkerProcess(options, folder / f"worker-{index}.log") for index in range(number)]
    try:
        for worker in workers:
            worker.wait_until_it_serves()
        yield workers
    finally:
        for worker in workers:
            worker.stop()
