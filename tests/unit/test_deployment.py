"""The examples of deployment are well-formed, and their settings are the server's."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from envelope_codec import EnvelopeConfig
from envelope_codec.server import ServerConfig

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def test_the_compose_service_has_the_server_s_settings() -> None:
    compose = yaml.safe_load((ROOT / "localstack" / "compose.yaml").read_text())
    service, temporal = compose["services"]["codec"], compose["services"]["temporal"]
    environment = service["environment"]
    EnvelopeConfig.from_env(environment)
    server = ServerConfig.from_env(environment)
    assert server.url in temporal["command"]
    assert service["ports"] == ["127.0.0.1:8081:8081"]  # nobody is asked who they are
    assert (ROOT / "localstack" / service["build"]["context"] / service["build"]["dockerfile"]).samefile(
        DEPLOY / "Containerfile"
    )


def test_the_container_file_serves_as_somebody() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    assert re.search(r"^USER (?!0\b)\d+:\d+$", text, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \[".*/envelope-codec", "serve"\]$', text, re.MULTILINE)
    extras = re.search(r"^ARG EXTRAS=(.*)$", text, re.MULTILINE)
    assert extras
    assert set(extras[1].split(",")) <= {"server", "aws"}


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "envelope-codec.service").read_text()
    seconds = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert seconds
    assert int(seconds[1]) > ServerConfig().shutdown_timeout
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("no systemd-analyze here")
    unit = tmp_path / "envelope-codec.service"
    unit.write_text(text.replace("/opt/envelope/bin/envelope-codec", "/bin/true"))
    found = subprocess.run([verify, "verify", str(unit)], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, ""), found.stderr
