"""A trial: a real worker whose KMS, a real one, stops answering, refuses, and comes back."""

from __future__ import annotations

import http.client
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from urllib.parse import urlencode

import hvac
from localserver import LOOPBACK, free_port
from servers import OpenBao
from typing_extensions import Self

ROOT = Path(__file__).resolve().parents[2]

_SECONDS = 60.0  # for the worker to start
_ALLOW = 'path "transit/+/watched" {{ capabilities = [{}] }}'


class Trial:
    """A worker, and the master key that it uses.

    Args:
        temporal: ``HOST:PORT`` of the Temporal server.
        kms: holds the master key; the trial is its only user.
        folder: for the worker's log and the KMS's token.
        lease: seconds.
        grace: seconds.

    Attributes:
        metrics: ``HOST:PORT`` of the worker's metrics.
    """

    def __init__(self, temporal: str, kms: OpenBao, folder: Path, *, lease: float, grace: float) -> None:
        self.metrics = f"{LOOPBACK}:{free_port()}"
        self._temporal = temporal
        self._kms = kms
        self._folder = folder
        self._lengths = (f"--lease={lease}", f"--grace={grace}")
        self._root = hvac.Client(url=kms.address, token=kms.token)
        self._policy = f"watched-{secrets.token_hex(4)}"
        self._worker: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._root.secrets.transit.create_key("watched")
        self.permit()
        token = self._root.auth.token.create(policies=[self._policy], ttl="1h")["auth"]["client_token"]
        file = self._folder / "token"
        file.touch(mode=0o600)
        file.write_text(f"{token}\n")
        options = {"cluster": "trial", "endpoint": self._kms.address, "auth": "token-file", "token_file": str(file)}
        key = f"hashivault://watched?{urlencode({**options, 'read_timeout': '0.5'})}"
        module = "tools.monitoring.watched_worker"
        with (self._folder / "worker.log").open("wb") as log:
            self._worker = subprocess.Popen(
                [
                    *(sys.executable, "-m", module, "--temporal", self._temporal, "--key", key),
                    *("--metrics", self.metrics, *self._lengths),
                ],
                cwd=ROOT,
                env={name: value for name, value in os.environ.items() if not name.startswith("ENVELOPE_CODEC_")},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _SECONDS
        while "envelope_codec_lease_since_success" not in self.told():
            said = (self._folder / "worker.log").read_text("utf-8", "replace")
            if self._worker.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise RuntimeError(f"the worker tells no metrics:\n{said}")
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()
        self._root.session.close()

    def told(self) -> str:
        """Return the text of the worker's metrics; empty while there are none."""
        host, _, port = self.metrics.partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()

    def pause(self) -> None:
        """Have the KMS take connections and answer nothing."""
        self._kms.pause()

    def resume(self) -> None:
        """Have it answer again."""
        self._kms.resume()

    def deny(self) -> None:
        """Withdraw the worker's permission to use the master key."""
        self._root.sys.create_or_update_policy(self._policy, _ALLOW.format('"deny"'))

    def permit(self) -> None:
        """Give the permission, or give it back."""
        self._root.sys.create_or_update_policy(self._policy, _ALLOW.format('"update"'))
