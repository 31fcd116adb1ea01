"""The command ``envelope-codec`` in processes of its own, as people run it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

_RUN = (sys.executable, "-c", "from envelope_codec.cli import run; run()")
_LOOPBACK = "127.0.0.1"
_SECONDS = 60.0


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        status: its exit status.
        printed: on standard output.
        complained: on standard error.
    """

    status: int
    printed: str
    complained: str


async def run_tool(*arguments: str) -> Ended:
    """Run ``envelope-codec`` with ``arguments`` to its end. What is cancelled ends it."""
    process = await asyncio.create_subprocess_exec(
        *_RUN, *arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        printed, complained = await process.communicate()
    finally:
        await _end(process)
    return Ended(process.returncode or 0, printed.decode(), complained.decode())


async def run_on_terminal(*arguments: str, columns: int) -> Ended:
    """Run ``envelope-codec`` with ``arguments`` on a terminal so wide, which shows no colors."""
    ours, theirs = os.openpty()
    shown = bytearray()

    def read() -> None:
        with suppress(OSError):  # Linux says so that the other side is closed
            while chunk := os.read(ours, 65_536):
                shown.extend(chunk)

    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": str(columns)}
    try:
        process = await asyncio.create_subprocess_exec(
            *_RUN, *arguments, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE, env=environment
        )
    finally:
        os.close(theirs)
    reading = asyncio.create_task(asyncio.to_thread(read))
    try:
        _, complained = await process.communicate()
    finally:
        await _end(process)
        await reading
        os.close(ours)
    return Ended(process.returncode or 0, shown.decode().replace("\r\n", "\n"), complained.decode())


class CodecServer:
    """A codec server that runs, on loopback.

    Args:
        port: where.
        origin: of the Web UI that it serves.
    """

    def __init__(self, port: int, origin: str) -> None:
        self.url = f"http://{_LOOPBACK}:{port}"
        self._port = port
        self._origin = origin

    def decode(self, namespace: str, payloads: Sequence[Payload]) -> list[Payload]:
        """Ask as a page of the Web UI does.

        Raises:
            RuntimeError: it refuses.
        """
        body = json_format.MessageToJson(Payloads(payloads=payloads)).encode()
        headers = {"Content-Type": "application/json", "X-Namespace": namespace, "Origin": self._origin}
        status, said = self.ask("POST", "/decode", body, headers)
        if status != 200:
            raise RuntimeError(f"the codec server answered {status}: {json.loads(said).get('message')}")
        return list(json_format.Parse(said, Payloads()).payloads)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send a request. Returns the status and the body."""
        connection = HTTPConnection(_LOOPBACK, self._port, timeout=_SECONDS)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@asynccontextmanager
async def codec_server(settings: Path, port: int, origin: str) -> AsyncIterator[CodecServer]:
    """Serve from a free port of loopback while the block runs.

    Args:
        settings: a file of settings.
        port: where.
        origin: of the Web UI that it serves.

    Raises:
        RuntimeError: it did not begin to serve. The text ends with the last lines of its log.
    """
    log = settings.with_suffix(".log")
    command = [*_RUN, "serve", "--config", str(settings), "--listen", f"{_LOOPBACK}:{port}", "--origin", origin]
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=os.environ
        )
    server = CodecServer(port, origin)
    try:
        await asyncio.wait_for(_until_ready(server, process, log), _SECONDS)
        yield server
    finally:
        await _end(process)


async def _until_ready(server: CodecServer, process: asyncio.subprocess.Process, log: Path) -> None:
    while True:
        if process.returncode is not None:
            said = await asyncio.to_thread(log.read_text, "utf-8", "replace")
            raise RuntimeError(f"the codec server ended with {process.returncode}: {' '.join(said.split())[-300:]}")
        with suppress(OSError, HTTPException):
            status, _ = await asyncio.to_thread(server.ask, "GET", "/readyz")
            if status == 200:
                return
        await asyncio.sleep(0.05)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process that still runs."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), _SECONDS)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
