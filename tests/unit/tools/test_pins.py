"""Pins stay as they are unless newer versions are asked for, and name no place that packages come from."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PINS = sorted(ROOT.glob("requirements/*.txt"))


def commands(*arguments: str) -> list[str]:
    """Return what ``make pins`` would run to resolve the pins."""
    make = ["make", "--dry-run", "--no-print-directory", "PYTHON=python3", "LOCALSTACK_PYTHON=python3"]
    done = subprocess.run([*make, "pins", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    found = [line for line in done.stdout.splitlines() if "uv pip compile" in line]
    assert len(found) >= 3
    return found


@pytest.mark.parametrize(
    ("arguments", "upgrades"),
    [
        ([], []),
        (["UPGRADE=1"], ["--upgrade"]),
        (["UPGRADE=ruff"], ["--upgrade-package=ruff"]),
        (["UPGRADE=ruff mypy"], ["--upgrade-package=ruff", "--upgrade-package=mypy"]),
    ],
)
def test_only_what_is_asked_for_is_upgraded(arguments: list[str], upgrades: list[str]) -> None:
    for command in commands(*arguments):
        assert re.findall(r"--upgrade\S*", command) == upgrades


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.name)
def test_pins_are_exact_have_hashes_and_hold_no_address(path: Path) -> None:
    text = path.read_text("utf-8")
    pins = unfolded(text)
    assert pins
    assert [pin for pin in pins if not PIN.fullmatch(pin)] == []
    assert "://" not in text


@pytest.mark.parametrize("path", ["localstack/azurite/package-lock.json", "examples/typescript/package-lock.json"])
def test_packages_of_npm_are_exact_and_have_hashes(path: str) -> None:
    packages = json.loads((ROOT / path).read_text("utf-8"))["packages"]
    del packages[""]
    assert packages
    assert [name for name, one in packages.items() if not one.get("integrity", "").startswith("sha512-")] == []


def test_a_pin_without_a_hash_is_found() -> None:
    good, bare = "a-b==1.0 ; python_version < '3.11'", "c==2"
    digest = "--hash=sha256:" + "0" * 64
    pins = unfolded(f"# comment\n{good} \\\n    {digest} \\\n    {digest}\n{bare}\n")
    assert [bool(PIN.fullmatch(pin)) for pin in pins] == [True, False]


PIN = re.compile(r"[a-z0-9._-]+(\[[a-z,]+\])?==[^\s;]+( ; [^\\]+?)?( --hash=sha256:[0-9a-f]{64})+")


def unfolded(text: str) -> list[str]:
    """Return the pins of a file, one a line."""
    return [
        re.sub(r"\s*\\\n\s*", " ", pin)
        for pin in re.split(r"(?<!\\)\n", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
        if pin.strip()
    ]
