"""Fail if the hot path became slower: ratios to a codec with a static key, against benchmarks/baseline.json.

Ratios of processor time, never times: both codecs are called by turns in one process. An operation that is over its
baseline by more than noise is measured again, up to three times in all; it fails if it is over each time.
Run: ``python benchmarks/guard.py [--write] [--slower PERCENT]``. ``--write`` writes the baseline anew, for when a
change of the cost is meant. ``--slower 25`` pretends that our codec takes so much longer, to see the guard fail.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.guard_operations import measure
from benchmarks.guard_verdict import TOLERANCE, Ratio, find_slower

BASELINE = Path(__file__).with_name("baseline.json")
PYTHON = ".".join(platform.python_version_tuple()[:2])
ATTEMPTS = 3
SAMPLES = 5  # of a baseline

Measure = Callable[["list[str] | None"], Mapping[str, Ratio]]


def check(baseline: Mapping[str, float], measure_again: Measure) -> list[str]:
    """Return the operations that are slower than the baseline allows in each attempt.

    Args:
        baseline: the ratio of each operation.
        measure_again: measures the operations named, or all.
    """
    suspects: list[str] | None = None
    for attempt in range(1, ATTEMPTS + 1):
        ratios = measure_again(suspects)
        suspects = find_slower(ratios, baseline)
        _show(attempt, ratios, baseline, suspects)
        if not suspects:
            break
    return suspects or []


def write(measure_again: Measure) -> None:
    """Write the baseline of this version of Python: the median of several measurements of each operation."""
    samples = [measure_again(None) for _ in range(SAMPLES)]
    ratios = {name: round(statistics.median(ratio[name].lower for ratio in samples), 3) for name in samples[0]}
    baselines = read_baselines()
    baselines[PYTHON] = ratios
    in_order = {version: baselines[version] for version in sorted(baselines, key=lambda text: int(text.split(".")[1]))}
    BASELINE.write_text(json.dumps(in_order, indent=2) + "\n", "utf-8")
    print(f"written to {BASELINE.name} for Python {PYTHON}: {ratios}")


def read_baselines() -> dict[str, dict[str, float]]:
    """Return the baselines by version of Python, of which more depends for our codec than for the other."""
    if not BASELINE.exists():
        return {}
    found: dict[str, dict[str, float]] = json.loads(BASELINE.read_text("utf-8"))
    return found


def _show(attempt: int, ratios: Mapping[str, Ratio], baseline: Mapping[str, float], slower: list[str]) -> None:
    print(f"attempt {attempt}: ratios to a static key (best round, median of rounds)")
    for name, ratio in ratios.items():
        bar = baseline[name] * TOLERANCE if name in baseline else None
        note = "no baseline" if bar is None else f"baseline {baseline[name]:.2f}, limit {bar:.2f}"
        verdict = "  OVER" if name in slower else ""
        print(f"  {name:18} {ratio.best:6.2f} {ratio.middle:6.2f}   {note}{verdict}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--write", action="store_true", help="write the baseline anew")
    parser.add_argument("--slower", type=float, default=0.0, metavar="PERCENT", help="see the guard fail")
    chosen = parser.parse_args()

    def measure_again(only: list[str] | None) -> Mapping[str, Ratio]:
        return measure(chosen.slower / 100, only)

    if chosen.write:
        write(measure_again)
        return 0
    baseline = read_baselines().get(PYTHON)
    if baseline is None:
        print(f"not compared: {BASELINE.name} has nothing for Python {PYTHON}; make bench-guard ARGS=--write adds it")
        return 0
    slower = check(baseline, measure_again)
    if slower:
        share = round((TOLERANCE - 1) * 100)
        print(f"slower than the baseline by more than {share} % in {ATTEMPTS} measurements: {', '.join(slower)}")
        print("If that is meant: make bench-guard ARGS=--write, and say why in the commit.")
        return 1
    print("the hot path costs what it did")
    return 0


if __name__ == "__main__":
    sys.exit(main())
