"""Put into the corpus what earlier runs found and what shows more than the seeds do: ``python -m tests.fuzz.keep``.

The smallest inputs come first, up to a bound for each target. What is in the corpus already stays, findings above all.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.places import CORPUS, ROOT
from tests.fuzz.target import NAMES

LARGEST = 10_000
"""Bytes that a target has in the corpus."""

_FOUND = re.compile(r"[0-9a-f]{40}")


def main() -> None:
    for name in sys.argv[1:] or NAMES:
        with tempfile.TemporaryDirectory(prefix="envelope-fuzz-") as folder:
            command = [sys.executable, "-m", "tests.fuzz.session", name, "0", "--merge", folder]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            count = _keep(name, Path(folder, name))
        print(f"{name}: {count} more inputs")


def _keep(name: str, merged: Path) -> int:
    """Copy inputs of ``merged``, and return how many. The seeds there have names that are no hashes."""
    kept = CORPUS / name
    kept.mkdir(parents=True, exist_ok=True)
    size = sum(path.stat().st_size for path in kept.iterdir())
    count = 0
    found = [path for path in merged.iterdir() if _FOUND.fullmatch(path.name) and not (kept / path.name).exists()]
    for path in sorted(found, key=lambda path: (path.stat().st_size, path.name)):
        size += path.stat().st_size
        if size > LARGEST:
            break
        (kept / path.name).write_bytes(path.read_bytes())
        count += 1
    return count


if __name__ == "__main__":
    main()
