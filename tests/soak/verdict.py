"""From what a soak left behind to its report."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from tests.soak import flatness, judge, tracebacks
from tests.soak.activities import EXECUTIONS
from tests.soak.chaos import FAULTS
from tests.soak.cold import COLD, KEPT
from tests.soak.journal import lines_of
from tests.soak.judge import Window
from tests.soak.monitor import Monitor
from tests.soak.reader import READINGS
from tests.soak.report import Report
from tests.soak.sentinel import Search
from tests.soak.starter import OUTCOMES, STARTED
from tests.soak.worker import FORKS
from tests.soak.world import World


def windows_of(folder: Path) -> list[Window]:
    return [Window(one["kind"], one["target"], one["begun"], one["ended"]) for one in lines_of(folder / FAULTS)]


def troubled(folder: Path) -> tuple[list[str], list[str]]:
    """Ids of workflows with an activity that ran again unplanned; and of those with which something is wrong."""
    found = judge.doubles(judge.executions(lines_of(folder / EXECUTIONS)), windows_of(folder))
    again = {double.first.activity[0] for double in found if double.cause != judge.PLANNED}
    wrong = {double.first.activity[0] for double in found if double.cause == judge.UNEXPLAINED}
    wrong |= {one["id"] for one in lines_of(folder / OUTCOMES) if one["id"] and one["why"]}
    return sorted(again), sorted(wrong)


def judge_faults(report: Report, folder: Path, troubles: list[str]) -> None:
    windows = windows_of(folder)
    kinds = Counter(f"{window.kind} {window.target}" for window in windows)
    report.add("faults", in_all=len(windows))
    report.count("faults", kinds)
    report.hold_none("faults that could not be done or taken back", troubles)


def judge_workflows(report: Report, folder: Path) -> None:
    started = {one["id"]: one["kind"] for one in lines_of(folder / STARTED)}
    outcomes = [one for one in lines_of(folder / OUTCOMES) if one["id"]]
    right = [one for one in outcomes if not one["why"]]
    took = sorted(one["took"] for one in right)
    report.add("workflows", started=len(started), ended_right=len(right))
    if took:
        report.add("workflows", seconds_median=took[len(took) // 2], seconds_longest=took[-1])
    report.count("workflows", Counter(started.values()))
    report.hold_none("not the right result", [f"{one['id']}: {one['why']}" for one in outcomes if one["why"]])
    report.hold_none("no result", sorted(started.keys() - {one["id"] for one in outcomes}))
    report.hold(bool(right), "no workflow came to its end")


def judge_executions(report: Report, folder: Path) -> None:
    ran = judge.executions(lines_of(folder / EXECUTIONS))
    late = _late_tasks(folder)
    found = [
        judge.excuse(double, late.get(double.first.activity[:2], ()))
        for double in judge.doubles(ran, windows_of(folder))
    ]
    report.add("activities", executions=len(ran))
    report.count("activities", {f"ran again, {cause}": times for cause, times in judge.count(found).items()})
    unexplained = [double for double in found if double.cause == judge.UNEXPLAINED]
    report.add("activities", ran_twice_on_our_account=len(unexplained))
    report.hold_none("activities that ran twice", [f"{one.first} and {one.second}" for one in unexplained])


def _late_tasks(folder: Path) -> dict[tuple[str, str], list[judge.LateTask]]:
    """By workflow and run, from the histories that were kept."""
    ahead = time.time() - time.monotonic()
    found = {}
    for path in (folder / KEPT).glob("*.json"):
        id, _, run_id = path.stem.rpartition(".")
        found[id, run_id] = judge.late_tasks(json.loads(path.read_text()), ahead)
    return found


def judge_cold(report: Report, folder: Path) -> None:
    path = folder / COLD
    if not path.exists():
        report.hold(False, "the process that reads cold did not come to its end")
        return
    told: dict[str, Any] = json.loads(path.read_text())
    states = told.pop("states")
    report.count("read cold", {name: value for name, value in told.items() if isinstance(value, int)})
    report.count("read cold", {f"runs {state.lower()}": number for state, number in states.items()})
    report.hold_none("payloads that do not open cold", [f"{what}: {times}" for what, times in told["errors"].items()])
    report.hold_none("workflows that do not end", told["open"])
    report.hold(told.get("histories", 0) > 0, "no history was read cold")
    report.hold(told.get("with content", 0) > 0, "no payload had the text that is searched for")


def judge_readings(report: Report, folder: Path) -> None:
    said = Counter(one["said"] for one in lines_of(folder / READINGS))
    report.count("codec server", said)
    last = [one["said"] for one in lines_of(folder / READINGS)][-3:]
    report.hold(not said["wrong"], f"the codec server gave a wrong answer {said['wrong']} times")
    report.hold("right" in last, f"the codec server gave no right answer at last, but {last}")


def judge_plaintext(report: Report, world: World, folder: Path) -> None:
    search = Search(world.sentinel)
    found = world.watch.finds()
    database = world.temporal.db_path
    assert database is not None
    for path in (database, database.with_name(f"{database.name}-wal")):
        found += search.below("Temporal's database", path)
    found += search.below("the store", world.store.data)
    keystore = world.servers["keystore"]._folder
    found += search.below("the keystore", keystore) if keystore else []
    for name, log in world.logs().items():
        found += search.below(f"the log of {name}", log)
    for name in ("audit.jsonl", READINGS, OUTCOMES, EXECUTIONS):
        found += search.below("a journal", folder / name)
    report.add(
        "plaintext",
        mib_seen_by_proxies=sum(world.watch.seen.values()) / 2**20,
        files_searched=search.files,
        mib_searched=search.bytes / 2**20,
        found=sum(find.times for find in found),
    )
    report.hold_none("plaintext", [f"{find.times} times {find.place}" for find in found])


def judge_flatness(report: Report, monitor: Monitor, warm_up: float, least: float) -> None:
    judged: dict[str, int] = defaultdict(int)
    for (name, pid), samples in monitor.samples.items():
        verdicts = flatness.judge(samples, warm_up, least)
        judged[name] += bool(verdicts)
        for one in verdicts:
            shown = f"{one.early:.0f}, later {one.late:.0f}, bound {one.most:.0f}"
            report.count("flatness", {f"{name} ({pid}), {one.quantity}": shown})
            report.hold(one.flat, f"{one.quantity} of {name} not flat: {shown}")
    report.hold(judged["worker-0"] > 0, "worker-0 did not live long enough to tell whether what it uses is flat")


def judge_processes(report: Report, world: World, monitor: Monitor, folder: Path) -> None:
    taken: dict[str, float] = defaultdict(float)
    for (name, _), seconds in monitor.processor.items():
        taken[name] += seconds
    taken["the soak itself, with its proxies"] = time.process_time()
    report.count("processor, in seconds", taken)
    for name, process in world.processes.items():
        report.count("processes", {f"{name}, starts": process.starts})
        surprises = [code for code in process.surprises if name != "starter"]
        report.hold_none(f"{name} ended by itself with", surprises)
    forks = list(lines_of(folder / FORKS))
    report.add("processes", forks=len(forks))
    report.hold_none("forked children", [one["error"] or "wrong" for one in forks if not one["right"]])


def judge_logs(report: Report, world: World) -> None:
    found = []
    for name, log in world.logs().items():
        if log.exists():
            with log.open(errors="replace") as lines:
                found += tracebacks.tracebacks(name, lines)
    report.add("tracebacks", in_all=len(found))
    report.count("tracebacks", {f"ours, {error}": times for error, times in tracebacks.count(found).items()})
    report.hold_none("tracebacks of ours", [f"in the log of {one.log}:\n{one.text}" for one in found if one.violates])
