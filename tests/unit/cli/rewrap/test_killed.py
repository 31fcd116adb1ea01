"""Rewraps that are killed, and run again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_passes_that_are_killed_and_run_again_end_the_same(tmp_path: Path) -> None:
    """Ten times both passes: twenty random moments."""
    command = [sys.executable, "-m", "tests.support.rewrap_killed", str(tmp_path), "10"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=Path(__file__).parents[4])
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 0, "some were killed"
