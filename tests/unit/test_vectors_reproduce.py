"""The committed test vectors are what their generator writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors"


@pytest.mark.slow
def test_the_generator_writes_the_committed_vectors(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "tests.vectors.make_vectors", str(tmp_path)], check=True, cwd=ROOT)
    committed = {path.name: path.read_bytes() for path in VECTORS.glob("*.json")}
    made = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert made.keys() == committed.keys()
    assert [name for name in made if made[name] != committed[name]] == []
