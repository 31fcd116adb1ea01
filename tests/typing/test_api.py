"""Both type checkers take the public API as `api.py` says: right calls pass, and wrong calls are errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]


@pytest.mark.parametrize(
    "command",
    [
        ["mypy", "--strict", str(FOLDER / "api.py")],
        ["pyright", "--pythonpath", sys.executable, "--project", str(FOLDER)],
    ],
    ids=lambda command: command[0],
)
def test_right_calls_pass_and_wrong_calls_are_errors(command: list[str]) -> None:
    pytest.importorskip(command[0])
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
