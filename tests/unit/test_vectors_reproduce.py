"""The committed test vectors are what their generator writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


def test_the_generator_writes_the_committed_vectors(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(VECTORS / "make_vectors.py"), str(tmp_path)], check=True)
    committed = {path.name: path.read_bytes() for path in VECTORS.glob("*.json")}
    made = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert made.keys() == committed.keys()
    assert [name for name in made if made[name] != committed[name]] == []
