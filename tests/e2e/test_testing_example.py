"""The example of a user's tests passes as it stands, and its assertions fail where something is in clear."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.e2e.test_snippets import run_program

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "testing"
UNSEALED = "Temporal can read what should be sealed"


def run(folder: Path) -> tuple[int, str]:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # `temporal` is there
    done = run_program(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"], cwd=folder, env={**os.environ, "PATH": path}
    )
    return done.returncode, done.stdout


@pytest.fixture
def example(tmp_path: Path) -> Path:
    return shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("__pycache__"))


def test_the_example_passes(example: Path) -> None:
    status, said = run(example)
    assert status == 0, said
    assert "4 passed" in said


def test_without_the_plugin_its_tests_fail(example: Path) -> None:
    conftest = example / "tests" / "conftest.py"
    text = conftest.read_text("utf-8")
    assert ", plugins=[envelope_plugin]" in text
    conftest.write_text(text.replace(", plugins=[envelope_plugin]", ""), "utf-8")
    status, said = run(example)
    assert status == 1
    assert UNSEALED in said
    assert "failure" in said.partition(UNSEALED)[2]
    assert "3 failed" in said or "4 failed" in said, said
