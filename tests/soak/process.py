"""A Python process of the soak: killed, paused, restarted, and given orders."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from serverprocess import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
ORDERS = "orders"
"""Name of the pipe in a process's folder from which it reads orders, in JSON lines."""


class SoakProcess:
    """A command that is started again and again under one name. It ends with the process that started it.

    Attributes:
        name: of the process, in reports.
        folder: that it runs in, with its log.
        meant_to_run: whether its end would be a surprise.
        starts: how often it was started.
        surprises: exit codes of those times when it ended by itself.
    """

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.folder = folder
        self._command = [sys.executable, *command]
        self._environment = {**_environment(), **environment}
        self._process: ServerProcess | None = None
        self.meant_to_run = False
        self.starts = 0
        self.surprises: list[int] = []
        folder.mkdir()
        os.mkfifo(folder / ORDERS)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def pid(self) -> int | None:
        """None if it does not run."""
        running = self._process is not None and self._process.exit_code is None
        return self._process.pid if running and self._process is not None else None

    @property
    def exit_code(self) -> int | None:
        return self._process.exit_code if self._process is not None else None

    def start(self) -> None:
        self._process = ServerProcess(self._command, environment=self._environment, folder=self.folder)
        self.meant_to_run = True
        self.starts += 1

    def kill(self) -> None:
        """End it without a warning."""
        assert self._process is not None
        self.meant_to_run = False
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.stop()

    def pause(self) -> None:
        assert self._process is not None
        self._process.pause()

    def resume(self) -> None:
        assert self._process is not None
        self._process.resume()

    def stop(self) -> None:
        """End it in good order, if it runs."""
        self.meant_to_run = False
        if self._process is not None:
            self._process.stop()

    def look_after(self) -> bool:
        """Start it again if it has ended by itself. Return whether it had."""
        if not self.meant_to_run or self._process is None or self._process.exit_code is None:
            return False
        self.surprises.append(self._process.exit_code)
        self._process.stop()
        self.start()
        return True

    def order(self, **what: object) -> None:
        """Tell it to do something. Nothing happens if it does not listen."""
        try:
            pipe = os.open(self.folder / ORDERS, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return  # it is not there yet
        try:
            os.write(pipe, json.dumps(what).encode() + b"\n")
        finally:
            os.close(pipe)

    def wait(self, seconds: float) -> bool:
        """Wait for its end. Return whether it came in time."""
        deadline = time.monotonic() + seconds
        while self.pid is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True


def _environment() -> dict[str, str]:
    """Ours, without what would point the library, a KMS's client or Temporal's elsewhere."""
    elsewhere = ("ENVELOPE_CODEC_", "AWS_", "VAULT_", "BAO_", "TEMPORAL_", "PG", "REDIS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(elsewhere)}
    path = [str(ROOT), str(ROOT / "providers"), str(ROOT / "localstack")]
    return {**kept, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
