"""The Docker variant of the local stack, as far as it can be checked without Docker."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

LOCALSTACK = Path(__file__).resolve().parents[2] / "localstack"
COMPOSE: dict[str, Any] = yaml.safe_load((LOCALSTACK / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SCRIPTS = sorted((LOCALSTACK / "init").rglob("*.sh"))
ONE_SHOT = {"vault-init"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_every_port_is_on_loopback_only(name: str) -> None:
    ports = SERVICES[name]["ports"]
    assert ports
    for port in ports:
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)
    assert "network_mode" not in SERVICES[name]


def test_one_shot_services_open_no_port() -> None:
    for name in ONE_SHOT:
        assert "ports" not in SERVICES[name]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_image_is_pinned_to_a_release(name: str) -> None:
    assert re.fullmatch(r"[a-z]+/[a-z]+:\d+\.\d+\.\d+", SERVICES[name]["image"])


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_every_server_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


def test_everything_that_is_mounted_or_depended_on_exists() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, _, mode = volume.split(":")
            assert (LOCALSTACK / source).exists()
            assert mode == "ro"
        assert set(service.get("depends_on", {})) <= set(SERVICES)


def test_localstack_is_the_release_that_the_native_launcher_runs() -> None:
    pins = (LOCALSTACK.parent / "requirements" / "localstack.txt").read_text()
    release = SERVICES["localstack"]["image"].rpartition(":")[2]
    assert f"\nlocalstack-core=={release} \\\n" in pins


def test_there_are_init_scripts() -> None:
    assert len(SCRIPTS) == 2


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_init_script_is_executable_and_parses(script: Path) -> None:
    assert os.access(script, os.X_OK)
    shell = script.read_text().splitlines()[0].removeprefix("#!")
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
