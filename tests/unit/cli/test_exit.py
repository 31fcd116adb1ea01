"""The exit status of the command line as a process of its own, and that nothing printed is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LOADED = "import temporalio.bridge.runtime\n"
"""As it is in every command that asks a Temporal server, whose threads may abort an interpreter that ends."""


def run(code: str, *arguments: str, stdout: Any = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    ends = "import atexit, sys\natexit.register(print, 'ended', file=sys.stderr)\n"
    command = [sys.executable, "-c", f"{ends}{code}from envelope_codec.cli import run\nrun()", *arguments]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=60, env=buffered
    )


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "status"), [(["--version"], 0), (["no-such-command"], 2), (["keygen"], 2)])
def test_the_interpreter_does_not_end_where_the_sdk_is_loaded(arguments: list[str], status: int) -> None:
    with_sdk = run(LOADED, *arguments)
    assert with_sdk.returncode == status
    assert "ended" not in with_sdk.stderr
    assert (with_sdk.stdout if status == 0 else with_sdk.stderr) != ""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_an_error() -> None:
    with Path("/dev/full").open("w") as full:
        assert run(LOADED, "--version", stdout=full).returncode != 0
