"""What one hostile party costs the others: ratios and gaps, each of one run.

A section for each promise; every figure has its bar. Run: ``python benchmarks/hostile.py [--check] [SECTION …]``; with
``--check`` it fails if a figure is over its bar. Takes three minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "providers")]

from benchmarks import hostile_calls, hostile_refusals, hostile_server  # noqa: E402 - found through the path above
from benchmarks.hostile_figure import Figure  # noqa: E402

Section = Callable[[], Awaitable[list[Figure]]]
SECTIONS: dict[str, Section] = {
    "refusals": hostile_refusals.figures,
    "calls": hostile_calls.figures,
    "server": hostile_server.figures,
}


async def run(names: list[str]) -> int:
    """Print each figure of these sections; how many are over their bars."""
    missed = 0
    for name in names:
        print(f"{name}:")
        for figure in await SECTIONS[name]():
            missed += figure.missed
            print(f"  {figure.line}", flush=True)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"some of {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--check", action="store_true", help="fail if a figure is over its bar")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"no such section: {', '.join(unknown)}")
    missed = asyncio.run(run(arguments.sections or list(SECTIONS)))
    return 1 if arguments.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
