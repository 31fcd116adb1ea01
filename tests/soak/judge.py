"""Which activities' code ran twice, and what explains it."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

PLANNED, SERVER, WORKER, STORE, TIMEOUT, TASK_TIMEOUT, UNEXPLAINED = (
    "planned",
    "Temporal's server",
    "its worker",
    "the store",
    "a time-out",
    "the time-out of its workflow task",
    "unexplained",
)

LOCAL = "local "
"""What the ids of local activities begin with here."""

_ENDS_PROCESSES = {"kill", "pause", "restart"}
_BREAKS_SERVER = {"kill", "pause", "cut", "slow"}
_NEAR = 1.0
"""Seconds by which what a fault leads to may come after its end, and a line before what it tells of."""


class Window(NamedTuple):
    """A fault as it was: from when to when, in monotonic seconds, the time to bring its target back included."""

    kind: str
    target: str
    begun: float
    ended: float

    def touches(self, begun: float, ended: float) -> bool:
        return self.begun - _NEAR <= ended and begun <= self.ended + _NEAR


class Execution(NamedTuple):
    """One run of an activity's code.

    Attributes:
        activity: ids of the workflow, the run and the activity.
        worker: whose process ran it.
        pid: of that process.
        attempt: as Temporal counts them.
        begun: monotonic seconds.
        ending: how the code ended: ``returned``, ``planned`` (it raised as it was meant to), ``raised``, or nothing
            where the process did not live to say so.
        limit: seconds after which Temporal gives another attempt.
        stored: whether its result or its input goes to the store.
    """

    activity: tuple[str, str, str]
    worker: str
    pid: int
    attempt: int
    begun: float
    ending: str
    limit: float
    stored: bool


class Double(NamedTuple):
    """Two runs after one another of the same activity, and what explains the second."""

    first: Execution
    second: Execution
    cause: str


class LateTask(NamedTuple):
    """A workflow task that took longer than Temporal gave it: from when to when, in monotonic seconds."""

    started: float
    timed_out: float


def executions(lines: Iterable[Mapping[str, Any]]) -> list[Execution]:
    """What the lines tell that activities have left: one when they begin, one when they end."""
    begun: dict[str, Mapping[str, Any]] = {}
    endings: dict[str, str] = {}
    for line in lines:
        if "ending" in line:
            endings[line["run"]] = line["ending"]
        else:
            begun[line["run"]] = line
    return [
        Execution(
            (line["workflow_id"], line["run_id"], line["activity_id"]),
            line["worker"],
            line["pid"],
            line["attempt"],
            line["at"],
            endings.get(run, ""),
            line["limit"],
            line["stored"],
        )
        for run, line in begun.items()
    ]


def doubles(ran: Iterable[Execution], windows: Sequence[Window]) -> list[Double]:
    """Every second run of an activity's code, with its cause."""
    by_activity: dict[tuple[str, str, str], list[Execution]] = defaultdict(list)
    for one in ran:
        by_activity[one.activity].append(one)
    found = []
    for runs in by_activity.values():
        runs.sort(key=lambda one: one.begun)
        found += [Double(one, two, cause_of(one, two, windows)) for one, two in itertools.pairwise(runs)]
    return found


def cause_of(first: Execution, second: Execution, windows: Sequence[Window]) -> str:
    """What explains that the code ran again after ``first``.

    A fault counts only if it was at work between the beginnings of the two runs. A refusal or an outage of a KMS, or
    of the keystore, never counts: the library promises that these cost no second run.
    """
    if first.ending == PLANNED:
        return PLANNED
    near = [window for window in windows if window.touches(first.begun, second.begun)]
    if any(window.target == first.worker and window.kind in _ENDS_PROCESSES for window in near):
        return WORKER
    if any(window.target == "temporal" and window.kind in _BREAKS_SERVER for window in near):
        return SERVER
    if first.stored and any(window.target == "store" for window in near):
        return STORE
    if second.begun - first.begun >= first.limit:
        return TIMEOUT
    return UNEXPLAINED


def late_tasks(history: Mapping[str, Any], ahead: float) -> list[LateTask]:
    """The workflow tasks of a history, as JSON, that timed out.

    Args:
        history: as `WorkflowHistory.to_json` has it, parsed.
        ahead: how much Unix time is ahead of monotonic time, in seconds.
    """
    started, found = 0.0, []
    for event in history["events"]:
        at = _unix(event["eventTime"]) - ahead
        if event["eventType"] == "EVENT_TYPE_WORKFLOW_TASK_STARTED":
            started = at
        elif event["eventType"] == "EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT":
            found.append(LateTask(started, at))
    return found


def excuse(double: Double, tasks: Iterable[LateTask]) -> Double:
    """Explain a second run of a local activity by a late task, if there was one.

    A task that waits for a KMS may outlast its time. What it runs locally is then lost with it, and runs again.
    """
    local = double.first.activity[2].startswith(LOCAL)
    late = any(
        task.started - _NEAR <= double.first.begun and task.timed_out - _NEAR <= double.second.begun for task in tasks
    )
    return double._replace(cause=TASK_TIMEOUT) if local and late and double.cause == UNEXPLAINED else double


def _unix(text: str) -> float:
    seconds, _, fraction = text.rstrip("Z").partition(".")
    whole = datetime.strptime(seconds, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return whole.timestamp() + float(f"0.{fraction or 0}")


def count(found: Iterable[Double]) -> Counter[str]:
    """How many by cause."""
    return Counter(double.cause for double in found)
