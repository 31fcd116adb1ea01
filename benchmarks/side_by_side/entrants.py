"""All who are compared, and who could not be."""

from __future__ import annotations

import importlib

from benchmarks.side_by_side.entrant import Entrant

_MODULES = {"own": "", "aws_peers": "AWS Encryption SDK", "tink_peer": "Tink"}


def find_entrants() -> tuple[list[Entrant], dict[str, str]]:
    """Return those who can be measured here, in the order of the tables, and by name why others can't."""
    found: list[Entrant] = []
    missing: dict[str, str] = {}
    for module, name in _MODULES.items():
        try:
            found += importlib.import_module(f"benchmarks.side_by_side.{module}").entrants()
        except ImportError as error:
            missing[name or module] = str(error)
    return found, missing
