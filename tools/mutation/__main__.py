"""``python -m tools.mutation [MODULE ...]``: mutate modules, and compare what survives with the kept list.

The status is 1 if a mutant survives that is not in the list. MODULE is a name such as ``lease`` or ``envelope``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

from tools.mutation.children import Result
from tools.mutation.coverage_map import measured
from tools.mutation.mutants import Mutant, mutants_of
from tools.mutation.runner import run, run_anew, tasks_of
from tools.mutation.scope import ROOT, SCRATCH, SURVIVORS, modules
from tools.mutation.survivors import Survivor, read

_NOT_MAKING = ("__main__.py", "children.py", "coverage_map.py", "patch.py", "runner.py", "scope.py", "survivors.py")
_KILLED = ("killed", "timeout")


class Results:
    """What came of each mutant, kept in a file, so that a run that is cut short can go on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: dict[str, tuple[str, str]] = {}
        self.read()

    def read(self) -> None:
        """Read what another process has added."""
        if self._path.exists():
            for line in self._path.read_text("utf-8").splitlines():
                kept = json.loads(line)
                self._outcomes[kept["mutant"]] = (kept["outcome"], kept["test"])

    def __call__(self, mutant: Mutant) -> tuple[str, str] | None:
        return self._outcomes.get(_hash(mutant))

    def add(self, result: Result) -> None:
        """Keep a result."""
        mutant = result.mutant
        self._outcomes[_hash(mutant)] = (result.outcome, result.test)
        line = {"mutant": _hash(mutant), "outcome": result.outcome, "test": result.test, "place": mutant.place}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def forget(self) -> None:
        """Begin anew."""
        self._outcomes.clear()
        self._path.unlink(missing_ok=True)


def _hash(mutant: Mutant) -> str:
    return hashlib.sha256(f"{mutant.module}\0{mutant.source}".encode()).hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Mutate, print a table, and compare with the list. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.mutation", description="Mutate, and see whether tests notice."
    )
    parser.add_argument("module", nargs="*", help="such as lease, or envelope; all of them by default")
    parser.add_argument("--jobs", type=int, default=2, help="how many mutants at a time")
    parser.add_argument(
        "--sample", type=int, metavar="N", help="no more than N mutants of each module, drawn by --seed"
    )
    parser.add_argument("--seed", type=int, default=16, help="of the sample, and of the order")
    parser.add_argument(
        "--go-on", action="store_true", help="keep the results of the last run, for code that is the same"
    )
    parser.add_argument("--again", action="store_true", help="with --go-on: run those that survived once more")
    parser.add_argument("--report", action="store_true", help="run nothing; say what the last run found")
    chosen = parser.parse_args(arguments)
    SCRATCH.mkdir(exist_ok=True)
    results = Results(SCRATCH / "results.jsonl")
    if not (chosen.go_on or chosen.report):
        results.forget()
    mutants = _drawn(_named(chosen.module), chosen.sample, chosen.seed)
    if not chosen.report:
        _run([mutant for mutant in mutants if _is_open(results(mutant), again=chosen.again)], results, chosen.jobs)
    return _report(mutants, results)


def _is_open(found: tuple[str, str] | None, *, again: bool) -> bool:
    return _is_left(found) or (again and found is not None and found[0] not in _KILLED)


def _named(names: Sequence[str]) -> list[str]:
    chosen = [module for module in modules() if not names or Path(module).stem in names or module in names]
    if unknown := set(names) - {Path(module).stem for module in chosen} - set(chosen):
        sys.exit(f"There is no module {', '.join(sorted(unknown))}.")
    return sorted(chosen, key=lambda module: names.index(Path(module).stem) if Path(module).stem in names else 0)


def _drawn(chosen: Iterable[str], sample: int | None, seed: int) -> list[Mutant]:
    """Return mutants of each module in turn, so that a run that is cut short has run a sample of each."""
    drawn = []
    for module in chosen:
        found = _kept_mutants(module)
        random.Random(f"{seed} {module}").shuffle(found)
        drawn.append(found[:sample])
    return [mutant for turn in zip_longest(*drawn) for mutant in turn if mutant is not None]


def _kept_mutants(module: str) -> list[Mutant]:
    """Return a module's mutants, made anew if it or the operators have changed."""
    of = [ROOT / module, *sorted(Path(__file__).parent.glob("*.py"))]
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in of if path.name not in _NOT_MAKING)).hexdigest()
    kept = SCRATCH / f"mutants-{Path(module).stem}-{digest[:16]}.json"
    if not kept.exists():
        kept.write_text(json.dumps(mutants_of(ROOT, module)), "utf-8")
    return [Mutant(*fields) for fields in json.loads(kept.read_text("utf-8"))]


def _run(mutants: Sequence[Mutant], results: Results, jobs: int) -> None:
    covered = measured()
    begun = last = time.monotonic()
    counts: Counter[str] = Counter()

    def tell(result: Result) -> None:
        nonlocal last
        results.add(result)
        counts[result.outcome] += 1
        if time.monotonic() > last + 30:
            last = time.monotonic()
            print(f"{sum(counts.values())} of {len(mutants)} after {last - begun:.0f} s: {dict(counts)}", flush=True)

    # In a process of its own: those that are left are imported anew, by one that has not loaded the library.
    if not (pid := os.fork()):
        run(list(tasks_of(mutants, covered)), jobs, tell)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        sys.exit("The mutants could not be run.")
    results.read()
    run_anew(list(tasks_of([mutant for mutant in mutants if _is_left(results(mutant))], covered)), covered, jobs, tell)


def _is_left(found: tuple[str, str] | None) -> bool:
    return found is None or found[0] == "anew"


def _report(mutants: Sequence[Mutant], results: Results) -> int:
    listed: dict[tuple[str, str, str, str], Survivor] = {survivor.place: survivor for survivor in read(SURVIVORS)}
    rows: defaultdict[str, Counter[str]] = defaultdict(Counter)
    new: list[tuple[Mutant, str]] = []
    for mutant in mutants:
        row = rows[mutant.module]
        row["all"] += 1
        if (found := results(mutant)) is None or _is_left(found):
            row["not run"] += 1
        elif found[0] in _KILLED:
            row["killed"] += 1
            row["timeout"] += found[0] == "timeout"
        else:
            survivor = listed.get(mutant.place)
            row[survivor.verdict if survivor else "new"] += 1
            if survivor is None:
                new.append((mutant, found[0]))
    print(f"\n{'module':<28} mutants  run  killed (of them time-outs)  equivalent  unasserted  new  raw %  judged %")
    for module, row in [*sorted(rows.items()), ("all", sum(rows.values(), Counter()))]:
        ran = row["all"] - row["not run"]
        counted = ran - row["equivalent"]
        name = module.removeprefix("envelope_codec/")
        print(
            f"{name:<28} {row['all']:>7} {ran:>4} {row['killed']:>7} {row['timeout']:>19} "
            f"{row['equivalent']:>11} {row['unasserted']:>11} {row['new']:>4} {_percent(row['killed'], ran):>6} "
            f"{_percent(row['killed'], counted):>9}"
        )
    for mutant, outcome in sorted(new):
        print(f"\n{outcome}: {mutant.module} {mutant.function} (line {mutant.first})", file=sys.stderr)
        print(*(f"  - {line}" for line in mutant.before.split("\n")), sep="\n", file=sys.stderr)
        print(*(f"  + {line}" for line in mutant.after.split("\n")), sep="\n", file=sys.stderr)
    return 1 if new else 0


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else "-"


if __name__ == "__main__":
    sys.exit(main())
