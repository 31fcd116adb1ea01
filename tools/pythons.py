"""Run the unit tests on every supported Python of this machine: ``python tools/pythons.py [PYTEST ARGUMENT …]``.

Looks for them on PATH and among pyenv's versions. Each gets an environment of its own below ``.devstack``. Needs
nothing but the standard library. The status is 1 if the tests fail on one of them, or if none was found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MINORS = range(10, 15)
"""Minor versions of Python 3 from the oldest that is supported to the newest that dependencies are released for."""

_PROBE = "import ensurepip, ssl, sqlite3, sys, venv; print(*sys.version_info[:3], sep='.')"


def candidates(minor: int) -> list[str]:
    """Return the commands that may start this version: what PATH names first, then pyenv's, the newest first."""
    on_path = shutil.which(f"python3.{minor}")
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    by_pyenv = root.glob(f"versions/3.{minor}.*/bin/python")
    newest_first = sorted(by_pyenv, key=lambda path: _number(path.parts[-3]), reverse=True)
    return [*([on_path] if on_path else []), *map(str, newest_first)]


def version(command: str, minor: int) -> str | None:
    """Return the full version of a Python that runs and can make environments, or None if it is no such Python."""
    try:
        done = subprocess.run([command, "-c", _PROBE], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = done.stdout.strip()
    return found if done.returncode == 0 and found.startswith(f"3.{minor}.") else None


def find(minor: int) -> tuple[str, str] | None:
    """Return the command of the first fitting Python of this version, and its full version, or None."""
    return next(((command, full) for command in candidates(minor) if (full := version(command, minor))), None)


def run(command: str, minor: int, arguments: Sequence[str]) -> int:
    """Run the unit tests, in an environment that is made or brought up to date first. Returns the exit status."""
    folder = ROOT / ".devstack" / f"python3.{minor}-venv"
    environment = [
        command,
        str(ROOT / "localstack" / "environment.py"),
        str(folder),
        "requirements/dev.txt",
        "--project",
    ]
    status = subprocess.run(environment, cwd=ROOT, check=False).returncode
    if status:
        return status
    tests = [str(folder / "bin" / "python"), "-m", "pytest", "tests/unit", "-q", "-n", "2", "--dist", "loadfile"]
    return subprocess.run([*tests, *arguments], cwd=ROOT, check=False).returncode


def main(arguments: Sequence[str], run: Callable[[str, int, Sequence[str]], int] = run) -> int:
    """Test on each Python, and print what was found and how it went."""
    outcomes: dict[int, str] = {}
    failed = tested = False
    for minor in MINORS:
        found = find(minor)
        if found is None:
            outcomes[minor] = "is not on this machine"
            continue
        command, full = found
        print(f"Python {full} ({command})", flush=True)
        tested = True
        status = run(command, minor, arguments)
        failed = failed or status != 0
        outcomes[minor] = f"{full}: " + ("the unit tests pass" if status == 0 else f"FAILED with status {status}")
    for minor, outcome in outcomes.items():
        print(f"Python 3.{minor} {outcome}" if outcome.startswith("is") else f"Python {outcome}")
    return 1 if failed or not tested else 0


def _number(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split(".") if part.isdigit())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
