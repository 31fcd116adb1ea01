"""What all servers of the local stack share: one process, its ports, its scratch folder, its start and stop."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import shutil
import socket
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar

from serverprocess import ServerProcess

if TYPE_CHECKING:
    from typing_extensions import Self

LOOPBACK = "127.0.0.1"


class ServerMissing(RuntimeError):
    """A server's program is not installed. The text says what to install."""


class ServerFailed(RuntimeError):
    """A server did not become ready. The text ends with the last lines of its log."""


class Server(ABC):
    """What all servers share.

    The ports are chosen at the first start and kept: after `stop`, `start` gives the same address with empty data.
    """

    name: ClassVar[str]
    start_seconds: ClassVar[float] = 60.0
    """How long a start may take before it counts as failed."""

    def __init__(self) -> None:
        self._ports: dict[str, int] = {}
        self._folder: Path | None = None
        self._process: ServerProcess | None = None

    def start(self) -> None:
        """Start it and wait until it serves. Does nothing if it runs already.

        Raises:
            ServerMissing: its program is not installed.
            ServerFailed: it ended, or did not become ready in time.
        """
        if self._process is not None:
            return
        self._folder = Path(tempfile.mkdtemp(prefix="envelope-devstack-"))
        try:
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it and remove its data. May be called twice. Does nothing in a fork of the process that started it."""
        if self._process is not None and not self._process.owned:
            return
        self._end()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def restart(self) -> None:
        """Stop and start it on the same port, with the data that it has on disk."""
        self._running()
        self._end()
        try:
            self._launch()
        except BaseException:
            self.stop()
            raise

    def pause(self) -> None:
        """Freeze it: connections are taken, and nothing is answered until `resume`."""
        self._running().pause()

    def resume(self) -> None:
        self._running().resume()

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def exit_code(self) -> int | None:
        """None as long as it runs."""
        return self._running().exit_code

    @property
    @abstractmethod
    def summary(self) -> str:
        """Where it is reached, in one line for people."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, str]:
        """Environment variables that point a client at this server."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """The command line; raises `ServerMissing`."""

    @abstractmethod
    def _ready(self, process: ServerProcess) -> bool:
        """Whether it serves. An `OSError` or `http.client.HTTPException` counts as no."""

    def _environment(self) -> Mapping[str, str]:
        """The caller's own, less what would point these programs at other servers."""
        ours = ("TEMPORAL_", "VAULT_", "BAO_", "OPENBAO_")
        return {name: value for name, value in os.environ.items() if not name.startswith(ours)}

    def _launch(self) -> None:
        assert self._folder is not None
        command = self._command()
        self._process = process = ServerProcess(command, environment=self._environment(), folder=self._folder)
        deadline = time.monotonic() + self.start_seconds
        while not self._answers(process):
            if process.exit_code is not None:
                raise self._failure(f"ended with exit code {process.exit_code}")
            if time.monotonic() > deadline:
                raise self._failure(f"was not ready after {self.start_seconds:g} s")
            time.sleep(0.05)

    def _answers(self, process: ServerProcess) -> bool:
        try:
            return self._ready(process)
        except (OSError, http.client.HTTPException):
            return False

    def _failure(self, what: str) -> ServerFailed:
        tail = "\n".join(self._running().log().splitlines()[-20:]) or "(nothing)"
        return ServerFailed(f"{self.name} {what}. The end of its log:\n{tail}")

    def _end(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    def _running(self) -> ServerProcess:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process

    def _port(self, use: str) -> int:
        if use not in self._ports:
            self._ports[use] = free_port()
        return self._ports[use]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def find_program(name: str) -> str | None:
    """A command on PATH, else one that a package put beside this Python."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def free_port() -> int:
    """A port that is free together with the next one, where Vault listens for its cluster.

    Below the range from which systems take the ports of outgoing connections, so that none of those can sit on it
    when a server restarts.
    """
    for _ in range(100):
        port = random.randrange(15_000, 30_000, 2)
        try:
            for candidate in (port, port + 1):
                with socket.socket() as probe:
                    probe.bind((LOOPBACK, candidate))
        except OSError:
            continue
        return port
    raise ServerFailed("no free port on 127.0.0.1")


def http_status(
    method: str, port: int, path: str, *, body: str | None = None, headers: Mapping[str, str] | None = None
) -> int:
    """Status of one request to loopback, past any proxy that the environment names."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    with contextlib.closing(connection):
        connection.request(method, path, body, dict(headers or {}))
        return connection.getresponse().status
