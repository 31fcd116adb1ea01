"""The command ``envelope-codec serve``, run as people run it, until it is ready and then until it is stopped."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60.0


class CodecProcess:
    """A running codec server.

    Attributes:
        url: of its root.
    """

    def __init__(self, url: str, process: subprocess.Popen[bytes], audit: Path, log: Path) -> None:
        self.url = url
        self._process = process
        self._audit = audit
        self._log = log

    def lines(self) -> list[dict[str, Any]]:
        """Its audit trail so far."""
        return [json.loads(line) for line in self._audit.read_text("utf-8").splitlines()]

    def stop(self) -> None:
        """End it in good order, if it runs."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise

    def wait(self) -> None:
        """Until it is ready."""
        deadline = time.monotonic() + SECONDS
        while not self._ready():
            said = self._log.read_text("utf-8")
            assert self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.02)

    def _ready(self) -> bool:
        scheme, address = self.url.split("://")
        if scheme == "https":
            connection: HTTPConnection = HTTPSConnection(
                address,
                timeout=5,
                context=ssl._create_unverified_context(),
            )
        else:
            connection = HTTPConnection(address, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


@contextmanager
def codec_process(
    folder: Path, port: int, key: str, *, certificate: Sequence[Path] = (), **settings: Any
) -> Iterator[CodecProcess]:
    """A codec server on this port of loopback.

    Args:
        folder: for its log and its audit trail.
        port: of 127.0.0.1.
        key: URI of the master key.
        certificate: files of a certificate and its key; the server speaks https then.
        settings: of ``[server]``.
    """
    audit, log = folder / "audit.jsonl", folder / "log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ENVELOPE_CODEC_")}
    environment |= {"ENVELOPE_CODEC_KEY": key, "ENVELOPE_CODEC_SERVER_AUDIT_FILE": str(audit)}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    for name, value in settings.items():
        text = value if isinstance(value, str) else json.dumps(value)
        environment[f"ENVELOPE_CODEC_SERVER_{name.upper()}"] = text
    command = [sys.executable, "-m", "envelope_codec.cli", "serve", "--listen", f"127.0.0.1:{port}"]
    if certificate:
        command += ["--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1])]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
    scheme = "https" if certificate else "http"
    running = CodecProcess(f"{scheme}://127.0.0.1:{port}", process, audit, log)
    try:
        running.wait()
        yield running
    finally:
        running.stop()
