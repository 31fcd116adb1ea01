"""The demos, as people run them, in processes that can be told from others."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOL = [sys.executable, "-c", "from envelope_codec.cli import main; main()"]
MARK = "ENVELOPE_TEST_OF_DEMO"


def demo_environment(tmp_path: Path) -> Mapping[str, str]:
    """An environment in which temporary files and processes of the demo can be told from others'."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return {**os.environ, "TMPDIR": str(folder), MARK: uuid.uuid4().hex}


def processes_of(environment: Mapping[str, str]) -> dict[int, str]:
    """Process id and command line of each process that inherited ``environment``."""
    found = {}
    mark = f"{MARK}={environment[MARK]}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


def assert_nothing_left(environment: Mapping[str, str]) -> None:
    assert list(Path(environment["TMPDIR"]).iterdir()) == []
    if sys.platform == "linux":
        assert processes_of(environment) == {}


def run(environment: Mapping[str, str], *options: str, command: str = "demo") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TOOL, command, *options], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False
    )
