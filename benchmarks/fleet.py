"""KMS calls of a fleet of workers: a model, a simulation that drives the real keyring, and how far they agree.

Run: ``python benchmarks/fleet.py [--full | --write]``. Prints the tables of docs/scaling.md, a row as soon as it is
known; takes half a minute. ``--full`` adds larger fleets and samples, and takes some minutes. ``--write`` also writes
the tables into docs/scaling.md, and the plot beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import fleet_scenarios  # noqa: E402 - found through the path above
from benchmarks.fleet_plot import plot  # noqa: E402
from benchmarks.fleet_table import STARTUP_HEAD, STEADY_HEAD, THROTTLED_HEAD, Row, line, table  # noqa: E402

PAGE = ROOT / "docs" / "scaling.md"
PLOT = ROOT / "docs" / "scaling.svg"
MORE = 4  # times the sample, with --full


def written(page: str, name: str, content: str) -> str:
    """``page`` with ``content`` between the markers of that name."""
    begin, end = f"<!-- {name}: written by benchmarks/fleet.py -->\n", f"\n<!-- end of {name} -->"
    before, found, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"{PAGE.name} has no markers for {name}")
    return before + begin + content + end + after


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--full", action="store_true", help="more fleets and larger samples")
    which.add_argument("--write", action="store_true", help="write the tables into docs/scaling.md, and the plot")
    arguments = parser.parse_args(argv)

    startups: list[Row] = [*fleet_scenarios.startups()]
    steadies: list[Row] = [*fleet_scenarios.steadies()]
    throttled: list[Row] = [*fleet_scenarios.throttled()]
    if arguments.full:
        startups += fleet_scenarios.more_startups()
        steadies += fleet_scenarios.more_steadies()
    page = PAGE.read_text("utf-8") if arguments.write else ""
    points: list[dict[str, list[tuple[int, float]]]] = []
    for name, head, rows in (
        ("startup", STARTUP_HEAD, startups),
        ("steady", STEADY_HEAD, steadies),
        ("throttled", THROTTLED_HEAD, throttled),
    ):
        points.append(_run(head, rows, MORE if arguments.full else 1))
        if arguments.write:
            page = written(page, name, table(head, rows))
    if arguments.write:
        PAGE.write_text(page, "utf-8")
        PLOT.write_text(plot(points[0], points[1]), "utf-8")


def _run(head: Sequence[str], rows: Sequence[Row], more: int) -> dict[str, list[tuple[int, float]]]:
    """Simulate and print each row; what is to be plotted of them."""
    points: dict[str, list[tuple[int, float]]] = {}
    print(table(head, []))
    for row in rows:
        simulated = row.simulate(more)
        print(line(row.cells()), flush=True)
        if row.family:
            points.setdefault(row.family, []).append((row.fleet.workers, simulated))
    print()
    return points


if __name__ == "__main__":
    main()
