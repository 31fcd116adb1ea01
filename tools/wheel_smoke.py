"""Install a wheel on every supported Python of this machine, as users do, and use it: ``python -m tools.wheel_smoke``.

Each Python gets a new environment in a temporary folder, with the newest dependencies that pip finds, all extras
included. So this asks package indexes, and needs nothing but the standard library itself. The status is 1 if the wheel
fails on one of them, or if there is no wheel or no Python.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.pythons import MINORS, find
from tools.release_check import use

ROOT = Path(__file__).resolve().parents[1]


def try_out(command: str, wheel: Path) -> str | None:
    """Install ``wheel`` in a new environment of the Python ``command``, and use it. Returns what failed, or None."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        venv = folder / "venv"
        pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        steps = [
            [command, "-m", "venv", str(venv)],
            [*pip, "install", "--quiet", f"{wheel}[all]"],
            [*pip, "check"],
        ]
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, check=False)
            if done.returncode:
                print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
                return f"{' '.join(step[1:5])} … failed"
        try:
            use(venv, folder)
        except SystemExit as failed:
            return str(failed)
    return None


def main(arguments: Sequence[str]) -> int:
    """Try the wheel on each Python, and print how it went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheel", nargs="?", type=Path, help="the wheel; that of dist/, if none is named")
    asked = parser.parse_args(arguments)
    wheels = [asked.wheel] if asked.wheel else sorted((ROOT / "dist").glob("temporal_envelope_codec-*.whl"))
    if len(wheels) != 1:
        print("There has to be one wheel in dist/: make release-check builds it.", file=sys.stderr)
        return 1
    outcomes: dict[int, str | None] = {}
    for minor in MINORS:
        found = find(minor)
        if found is None:
            print(f"Python 3.{minor} is not on this machine", flush=True)
            continue
        command, full = found
        outcomes[minor] = try_out(command, wheels[0].resolve())
        print(f"Python {full}: {outcomes[minor] or 'the wheel installs with all extras, seals and opens'}", flush=True)
    return 1 if not outcomes or any(outcomes.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
