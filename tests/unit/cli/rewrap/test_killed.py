"""Rewraps that are killed, and run again."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from envelope_codec.keystores.sql import SqlKeystore


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("times", [3, pytest.param(10, marks=pytest.mark.nightly)])
def test_passes_that_are_killed_and_run_again_end_the_same(times: int, tmp_path: Path) -> None:
    """Several times both passes, over SQLite, each killed at a random moment."""
    url = f"sqlite+aiosqlite:///{tmp_path}/keystore.db"
    with sqlite3.connect(tmp_path / "keystore.db") as database:
        database.executescript(SqlKeystore(url).ddl)
    database.close()
    command = [sys.executable, "-m", "tests.support.rewrap_killed", str(tmp_path), url, str(times)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=Path(__file__).parents[4])
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) > 0, f"some were killed: {done.stdout}"
