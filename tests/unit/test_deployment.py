"""The examples of deployment are well-formed, and their settings are the server's."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from envelope_codec import EnvelopeConfig
from envelope_codec.server import ServerConfig

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def settings_of(text: str, folder: Path) -> tuple[EnvelopeConfig, ServerConfig]:
    file = folder / "envelope.toml"
    file.write_text(text)
    return EnvelopeConfig.from_file(file), ServerConfig.from_file(file)


def test_kubernetes_objects_fit_together(tmp_path: Path) -> None:
    objects: dict[str, Any] = {
        found["kind"]: found for found in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    }
    _, server = settings_of(objects["ConfigMap"]["data"]["envelope.toml"], tmp_path)
    pod = objects["Deployment"]["spec"]["template"]
    [container] = pod["spec"]["containers"]
    [port] = container["ports"]
    assert server.listen == (f"0.0.0.0:{port['containerPort']}",)
    assert pod["spec"]["terminationGracePeriodSeconds"] > server.shutdown_delay + server.shutdown_timeout
    assert pod["spec"]["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted.keys() == {volume["name"] for volume in pod["spec"]["volumes"]}
    assert server.tls_cert == f"{mounted['tls']}/tls.crt"
    assert server.tls_key == f"{mounted['tls']}/tls.key"
    for probe, path in {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}.items():
        asked = container[f"{probe}Probe"]["httpGet"]
        assert (asked["path"], asked["port"], asked["scheme"]) == (path, port["name"], "HTTPS")
    for kind in ("Service", "PodDisruptionBudget", "Deployment"):
        selector = objects[kind]["spec"]["selector"]
        assert selector.get("matchLabels", selector) == pod["metadata"]["labels"]
    assert container["securityContext"]["readOnlyRootFilesystem"]


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
