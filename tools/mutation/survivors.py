"""The list of mutants that no test notices, each with the verdict of somebody who looked at it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VERDICTS = ("equivalent", "unasserted")
"""``equivalent``: no test could notice it. ``unasserted``: one could, and ``why`` says why none has to."""


class Survivor(NamedTuple):
    """A mutant that survives. See `Mutant` for the first four."""

    module: str
    function: str
    before: str
    after: str
    verdict: str
    why: str

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What tells it from others."""
        return self.module, self.function, self.before, self.after


def read(path: Path) -> list[Survivor]:
    """Return the list.

    Raises:
        ValueError: an entry lacks something, has an unknown verdict, or stands there twice.
    """
    if not path.exists():
        return []
    found: dict[tuple[str, str, str, str], Survivor] = {}
    for entry in tomllib.loads(path.read_text("utf-8")).get("survivor", []):
        try:
            survivor = Survivor(**entry)
        except TypeError as error:
            raise ValueError(f"{entry}: {error}") from None
        if survivor.verdict not in VERDICTS or not survivor.why:
            raise ValueError(f"{survivor}: no verdict, or no reason for it")
        if survivor.place in found:
            raise ValueError(f"{survivor}: twice")
        found[survivor.place] = survivor
    return list(found.values())


def write(path: Path, survivors: Iterable[Survivor]) -> None:
    """Write the list, in the order of modules and functions."""
    blocks = [
        "# What survives `make mutation`: the place, the lines before and after the change, a verdict and its reason.\n"
        "# `equivalent`: no test could notice. `unasserted`: a test could, and need not.\n"
    ]
    for survivor in sorted(survivors):
        lines = ["", "[[survivor]]"]
        lines += [f"{name} = {_quoted(value)}" for name, value in survivor._asdict().items()]
        blocks.append("\n".join(lines) + "\n")
    path.write_text("".join(blocks), "utf-8")


def stale(root: Path, survivors: Iterable[Survivor]) -> list[Survivor]:
    """Return those whose module no longer has the lines before the change, one after another."""
    return [survivor for survivor in survivors if not _stands(root / survivor.module, survivor.before)]


def _stands(module: Path, before: str) -> bool:
    if not module.exists():
        return False
    lines = [line.strip() for line in module.read_text("utf-8").splitlines()]
    wanted = before.split("\n")
    return any(lines[at : at + len(wanted)] == wanted for at in range(len(lines) - len(wanted) + 1))


def _quoted(value: str) -> str:
    """As a string of TOML: in single quotes where it can stand as it is."""
    if "'" not in value and "\n" not in value and "\\" not in value:
        return f"'{value}'" if '"' in value else f'"{value}"'
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
