"""Measure this library beside others, and write docs/benchmarks.md with its plots.

Runs one program after another, each with a time limit. If one fails, the others still count, and the page says so.
Run: ``make bench [ARGS=--quick]``. ``--quick`` takes three minutes and leaves the page in docs/ alone: it writes to
.devstack/bench-quick/. ``--only NAME …`` runs some sections, and takes the others' figures from the last run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import peer_pages
from benchmarks.side_by_side.machine import describe, load
from benchmarks.side_by_side.page import Run, render
from benchmarks.side_by_side.sections import ROOT, SECTIONS, Section, arguments

DOCS = ROOT / "docs"
README = ROOT / "README.md"
FIGURES = ROOT / ".devstack" / "bench"
QUICK = ROOT / ".devstack" / "bench-quick"
_BEGIN, _END = "<!-- cost: written by make bench -->\n", "\n<!-- end of cost -->"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a short run, whose page goes to .devstack/bench-quick/")
    names = [section.name for section in SECTIONS]
    parser.add_argument("--only", nargs="*", metavar="NAME", choices=names, help=f"of {', '.join(names)}")
    chosen = parser.parse_args(argv)
    folder, pages = (QUICK, QUICK) if chosen.quick else (FIGURES, DOCS)
    folder.mkdir(parents=True, exist_ok=True)
    busy = load()
    failures: dict[str, str] = {}
    for section in SECTIONS:
        told = arguments(section, quick=chosen.quick)
        if chosen.only is not None and section.name not in chosen.only:
            continue
        (folder / f"{section.name}.json").unlink(missing_ok=True)
        if told is None or not section.available:
            print(f"== {section.name}: left out", flush=True)
            continue
        failure = run_section(section, told, folder / f"{section.name}.json")
        if failure is not None:
            failures[section.name] = failure
    if not chosen.quick:
        write_readme(README, read_results(folder))
    write_page(folder, pages, Run({}, describe(), failures=failures, load=busy, quick=chosen.quick))
    for name, failure in failures.items():
        print(f"failed: {name}: {failure}", file=sys.stderr)
    return 1 if failures else 0


def run_section(section: Section, told: Sequence[str], file: Path) -> str | None:
    """Run a section's program, which writes its figures to ``file``; the reason if it wrote none."""
    python = ROOT / ".venv" / "bin" / "python"
    command = [sys.executable if section.with_peers else str(python), str(ROOT / "benchmarks" / section.program)]
    print(f"== {section.name}: {section.program} {' '.join(told)}", flush=True)
    begun = time.monotonic()
    try:
        code = subprocess.run([*command, *told, "--json", str(file)], cwd=ROOT, timeout=section.timeout).returncode
    except subprocess.TimeoutExpired:
        return f"it took more than {section.timeout:.0f} s."
    except OSError as error:
        return f"it did not start: {type(error).__name__}."
    print(f"== {section.name}: {time.monotonic() - begun:.0f} s, exit code {code}", flush=True)
    # A program that missed a bar of its own says so by its exit code; its figures count all the same.
    return None if file.exists() else f"it ended with exit code {code} and wrote no figures."


def write_page(folder: Path, pages: Path, run: Run) -> None:
    """Write the page and its plots from all figures in ``folder``."""
    results = read_results(folder)
    versions: dict[str, str] = {}
    for result in results.values():
        versions.update(result.get("versions", {}))
    whole = Run(results, run.machine, versions, run.failures, run.load, run.quick)
    (pages / "benchmarks.md").write_text(render(whole), "utf-8")
    try:
        from benchmarks.side_by_side.plots import draw
    except ImportError as error:
        print(f"no plots: {error}", file=sys.stderr)
        return
    for path in [pages / "benchmarks.md", *draw(results, pages)]:
        print(f"written: {path.relative_to(ROOT)}")


def write_readme(file: Path, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the few figures of the README between their markers, if there are any."""
    if "peers-time" not in results:
        return
    before, begin, rest = file.read_text("utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{file.name} has no markers for the figures")
    figures = peer_pages.headline(results["peers-time"])
    file.write_text(f"{before}{begin}\n{figures}\n{end}{after}", "utf-8")


def read_results(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return what each section's program wrote, in the order of the page."""
    files = {section.name: folder / f"{section.name}.json" for section in SECTIONS}
    return {name: json.loads(file.read_text("utf-8")) for name, file in files.items() if file.exists()}


if __name__ == "__main__":
    sys.exit(main())
