"""``python -m tests.soak``, or ``make soak``: real servers, real faults, and an invariant that has to hold."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT), str(_ROOT / "providers"), str(_ROOT / "localstack")]

SABOTAGES = ("plain", "twice", "wrong", "lost", "leak")


def main() -> int:
    from tests.soak.options import Options
    from tests.soak.soak import run

    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long workflows are started (10)")
    parser.add_argument("--seed", type=int, default=1, help="of the faults, and of the choice of workflows (1)")
    parser.add_argument("--workflows", type=int, help="how many; without it six a second")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report as JSON, too")
    parser.add_argument("--series", type=Path, metavar="FOLDER", help="keep the metrics of all processes there")
    parser.add_argument("--cold", type=int, default=100_000, help="how many histories are read cold at most (all)")
    parser.add_argument("--sabotage", choices=SABOTAGES, default="", help="do something wrong, to see it noticed")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return run(
            Options(
                *(chosen.minutes, chosen.seed, chosen.workflows, chosen.report, chosen.series),
                *(chosen.sabotage, chosen.cold),
            )
        )
    except KeyboardInterrupt:
        return 130


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
