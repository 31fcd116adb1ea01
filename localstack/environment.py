"""Make one virtual environment or bring it up to date: ``python environment.py FOLDER PINS [--project]``.

Installs what the file PINS names, and with ``--project`` the repository that it runs in too (editable). Tells in a
few lines how far it is. At the end it touches ``FOLDER/.NAME`` for PINS called ``NAME.txt``, which the Makefile
compares with its sources. An environment whose installation was interrupted is made anew.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import venv
from collections import deque
from collections.abc import Sequence
from pathlib import Path

PROGRESS_EVERY = 15  # packages


def install(folder: Path, pins: Path, *, project: bool) -> int:
    """Exit status of pip: 0 if all is there now."""
    created, unfinished = folder / ".created", folder / ".unfinished"
    if unfinished.exists() or not created.exists() or not _runs(folder):
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        print(f"Creating {folder} with Python {version} …", flush=True)
        venv.create(folder, clear=True, with_pip=True, symlinks=True)
        created.touch()
    unfinished.touch()
    wanted = len(re.findall(r"^[A-Za-z0-9].*==", pins.read_text(), flags=re.MULTILINE))
    print(f"Installing up to {wanted} packages from {pins} (a minute or so, if they are not there yet) …", flush=True)
    # The file is complete, so there is nothing to resolve; bytecode is written when a module is first imported.
    failed = _pip(folder, ["--no-deps", "--no-compile", "-r", str(pins)], progress=True)
    if not failed and project:
        failed = _pip(folder, ["--no-deps", "--no-build-isolation", "-e", "."], progress=False)
    if not failed:
        unfinished.unlink()
        (folder / f".{pins.stem}").touch()
        print(f"{folder} is ready.", flush=True)
    return failed


def _python(folder: Path) -> str:
    return str(folder.absolute() / "bin" / "python")


def _runs(folder: Path) -> bool:
    """Whether there is an environment, and its Python is still on this machine."""
    try:
        return subprocess.run([_python(folder), "-m", "pip", "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


def _pip(folder: Path, arguments: Sequence[str], *, progress: bool) -> int:
    command = [_python(folder), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    command += ["--progress-bar", "off", *arguments]
    last: deque[str] = deque(maxlen=15)
    seen = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            if not line.startswith("WARNING"):
                last.append(line.rstrip())
            if line.startswith(("Collecting", "Processing", "Requirement already satisfied")):
                seen += 1
                if progress and seen % PROGRESS_EVERY == 0:
                    print(f"  {seen} packages", flush=True)
            elif progress and line.startswith("Installing collected packages"):
                print("  unpacking …", flush=True)
    if pip.returncode != 0:
        print("pip failed. The end of what it said:", *last, sep="\n", file=sys.stderr)
    return pip.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description="Make or bring up to date one virtual environment.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("pins", type=Path)
    parser.add_argument("--project", action="store_true", help="install the repository itself too")
    chosen = parser.parse_args()
    return install(chosen.folder, chosen.pins, project=chosen.project)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
