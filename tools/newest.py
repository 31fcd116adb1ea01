"""Try the newest Temporal SDK that ``pyproject.toml`` allows: ``python -m tools.newest [--tell | --anyway]``.

If that is the pinned one, it says so in a line, and nothing is to be tried. Otherwise it makes an environment from
``requirements/dev.txt``, with that SDK in place of the pinned one, and runs there what depends on the SDK most: the
page of Temporal's surface, the unit tests of ``temporal/``, and workflows on a real server. A place for payloads that
is new in the API fails with the row that it needs.

``--tell`` says which is the newest, and tries nothing. ``--anyway`` tries it even if it is the pinned one.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

PACKAGE = "temporalio"
ENVIRONMENT = Path(".devstack/newest-venv")
PINS = Path("requirements/dev.txt")
TESTS = (
    "tests/unit/test_surface_rows.py",
    "tests/unit/temporal",
    "tests/unit/test_plugin.py",
    "tests/e2e/test_surface.py",
    "tests/e2e/test_workflows.py",
)
_AVAILABLE = re.compile(r"^Available versions: (.*)$", re.MULTILINE)


class Unknown(Exception):
    """Which versions there are can't be found out. The text says why."""


def main(arguments: Sequence[str]) -> int:
    """Find the newest, try it if it is to be tried, and return the exit status."""
    parser = argparse.ArgumentParser(description="Try the newest Temporal SDK that pyproject.toml allows.")
    parser.add_argument("--tell", action="store_true", help="say which it is, and try nothing")
    parser.add_argument("--anyway", action="store_true", help="try it even if it is the pinned one")
    options = parser.parse_args(arguments)
    pinned = pinned_version(PINS.read_text("utf-8"))
    try:
        newest = newest_allowed(ask_versions(), allowed(Path("pyproject.toml").read_text("utf-8")))
    except Unknown as error:
        print(f"The newest {PACKAGE} can't be found out: {error}", file=sys.stderr)
        return int(not options.tell)
    if newest == pinned:
        print(f"{PACKAGE} {pinned}, which is pinned, is the newest that pyproject.toml allows: nothing else to try.")
    else:
        print(f"{PACKAGE} {newest} is allowed and newer than {pinned}, which is pinned: `make newest` tries it.")
    if options.tell or (newest == pinned and not options.anyway):
        return 0
    return _install(newest) or _test()


def ask_versions() -> list[Version]:
    """Ask the package index which versions there are for this Python and platform.

    Raises:
        Unknown: it does not tell.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "index", "versions", PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True)
    found = _AVAILABLE.search(done.stdout)
    if done.returncode or not found:
        raise Unknown((done.stderr.strip().splitlines() or ["no answer"])[-1])
    return [Version(text) for text in found[1].split(", ")]


def allowed(pyproject: str) -> Requirement:
    """Return what the project itself asks of the SDK."""
    found = re.search(rf'^  "({PACKAGE}>=[^"]*)",$', pyproject, re.MULTILINE)
    if not found:
        raise ValueError(f"pyproject.toml does not ask for {PACKAGE}")
    return Requirement(found[1])


def newest_allowed(versions: Iterable[Version], requirement: Requirement) -> Version:
    """Return the newest release that is allowed.

    Raises:
        Unknown: there is none.
    """
    fitting = [version for version in versions if requirement.specifier.contains(version) and not version.is_prerelease]
    if not fitting:
        raise Unknown(f"no version fits {requirement}")
    return max(fitting)


def pinned_version(pins: str) -> Version:
    """Return the version in a file of pins."""
    found = re.search(rf"^{PACKAGE}(?:\[[a-z,]+\])?==(\S+)", pins, re.MULTILINE)
    if not found:
        raise ValueError(f"{PACKAGE} is not pinned")
    return Version(found[1])


def _install(version: Version) -> int:
    make = [sys.executable, "localstack/environment.py", str(ENVIRONMENT), str(PINS), "--project"]
    if status := subprocess.run(make).returncode:
        return status
    pip = [str(ENVIRONMENT / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    return subprocess.run([*pip, "--no-compile", f"{PACKAGE}[opentelemetry,pydantic]=={version}"]).returncode


def _test() -> int:
    pytest = [str(ENVIRONMENT / "bin/python"), "-m", "pytest", "-n", "2", "--dist", "loadfile"]
    return subprocess.run([*pytest, "-m", "not slow and not nightly", *TESTS]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
