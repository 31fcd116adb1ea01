"""A server process that never outlives the Python process that started it.

Each server runs in a session of its own, so that a Ctrl-C in the terminal reaches only its owner, which then stops
it in order. For an owner that is killed there is `serverwatch`: it holds the other end of a pipe and, when that
closes, ends the servers and removes their folders.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_SECONDS = 10.0
"""How long a server has to end after SIGTERM before it gets SIGKILL."""

_running: set[ServerProcess] = set()
_watch: subprocess.Popen[bytes] | None = None
_lock = threading.RLock()


class ServerProcess:
    """A started process, its scratch folder, and the log that both its output streams go to."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], folder: Path) -> None:
        self._owner = os.getpid()
        self._folder = folder
        self._log = folder / "log"
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _register(self)
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """Process id, and the id of its process group too."""
        return self._popen.pid

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def owned(self) -> bool:
        """Whether this is the Python process that started it, and not a fork of that."""
        return os.getpid() == self._owner

    @property
    def exit_code(self) -> int | None:
        """None as long as it runs; minus the signal's number if a signal ended it."""
        return self._popen.poll()

    def log(self) -> str:
        """What this process has printed so far."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def pause(self) -> None:
        """Freeze it: connections stay open, and nothing is answered."""
        self._signal(signal.SIGSTOP)
        if hasattr(os, "waitid"):  # else its threads may go on for a moment
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it and all that it started: SIGTERM, and SIGKILL after `STOP_SECONDS`."""
        if self._popen.poll() is None:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # a frozen process takes SIGTERM only when it goes on
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(STOP_SECONDS)
        self._signal(signal.SIGKILL)  # the process itself if it is still there, and children that it left behind
        self._popen.wait()
        _unregister(self)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def _register(process: ServerProcess) -> None:
    global _watch
    with _lock:
        if _watch is None:
            script = Path(__file__).with_name("serverwatch.py")
            _watch = subprocess.Popen(
                [sys.executable, "-I", "-S", str(script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        _running.add(process)
        _tell({"watch": process.pid, "folder": str(process.folder)})


def _unregister(process: ServerProcess) -> None:
    global _watch
    with _lock:
        if process not in _running:
            return
        _running.discard(process)
        _tell({"forget": process.pid})
        if not _running and _watch is not None and _watch.stdin is not None:
            _watch.stdin.close()
            _watch.wait()
            _watch = None


def _tell(message: Mapping[str, object]) -> None:
    if _watch is None or _watch.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError):  # somebody killed the watch: servers still end with `stop`
        _watch.stdin.write(json.dumps(message).encode() + b"\n")
        _watch.stdin.flush()


@atexit.register
def _stop_all() -> None:
    for process in list(_running):
        process.stop()
        shutil.rmtree(process.folder, ignore_errors=True)


def _disown_all() -> None:
    """In a fork: the servers stay the parent's, and its watch must not wait for us."""
    global _watch, _lock
    _lock = threading.RLock()
    _running.clear()
    if _watch is not None and _watch.stdin is not None:
        _watch.stdin.close()
    _watch = None


os.register_at_fork(after_in_child=_disown_all)
