"""The judge tells second runs that a fault explains from those that are the library's own."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from tests.soak.judge import (
    PLANNED,
    SERVER,
    STORE,
    TASK_TIMEOUT,
    TIMEOUT,
    UNEXPLAINED,
    WORKER,
    Double,
    Execution,
    LateTask,
    Window,
    count,
    doubles,
    excuse,
    executions,
    late_tasks,
)

ID = ("workflow", "run", "1")


def ran(begun: float, *, worker: str = "worker-1", ending: str = "returned", stored: bool = False) -> Execution:
    return Execution(ID, worker, 1, 1, begun, ending, 25.0, stored)


def cause(first: Execution, second: Execution, *windows: Window) -> str:
    [double] = doubles([second, first], windows)
    assert (double.first, double.second) == (first, second)
    return double.cause


def test_one_run_is_no_double() -> None:
    assert doubles([ran(1.0), ran(2.0)._replace(activity=("workflow", "run", "2"))], []) == []


def test_a_second_run_with_nothing_to_explain_it() -> None:
    assert cause(ran(10.0), ran(11.0)) == UNEXPLAINED


def test_a_failure_that_was_planned() -> None:
    assert cause(ran(10.0, ending=PLANNED), ran(11.0)) == PLANNED


@pytest.mark.parametrize("kind", ["kill", "pause", "restart"])
def test_its_worker_was_ended_or_paused(kind: str) -> None:
    assert cause(ran(10.0, ending=""), ran(36.0), Window(kind, "worker-1", 11.0, 12.0)) == WORKER


def test_another_worker_was_killed() -> None:
    assert cause(ran(10.0), ran(12.0), Window("kill", "worker-2", 10.5, 11.0)) == UNEXPLAINED


def test_a_fork_and_a_wrong_time_explain_nothing() -> None:
    windows = [Window(kind, "worker-1", 9.0, 13.0) for kind in ("fork", "skew")]
    assert cause(ran(10.0), ran(12.0), *windows) == UNEXPLAINED


def test_the_server_was_away() -> None:
    assert cause(ran(10.0), ran(14.0), Window("kill", "temporal", 11.0, 13.0)) == SERVER


def test_a_fault_before_or_after_explains_nothing() -> None:
    windows = [Window("kill", "temporal", 2.0, 8.0), Window("kill", "temporal", 14.0, 15.0)]
    assert cause(ran(10.0), ran(12.0), *windows) == UNEXPLAINED


@pytest.mark.parametrize("target", ["vault", "aws", "all keys", "keystore", "codec"])
@pytest.mark.parametrize("kind", ["kill", "pause", "revoke", "throttle", "cut"])
def test_a_master_key_or_the_keystore_is_no_excuse(kind: str, target: str) -> None:
    assert cause(ran(10.0), ran(12.0), Window(kind, target, 9.0, 13.0)) == UNEXPLAINED


def test_the_store_explains_only_what_goes_there() -> None:
    full = Window("fill", "store", 10.2, 13.0)
    assert cause(ran(10.0, stored=True), ran(12.0, stored=True), full) == STORE
    assert cause(ran(10.0), ran(12.0), full) == UNEXPLAINED


def test_the_time_of_an_attempt_was_over() -> None:
    assert cause(ran(10.0), ran(35.5)) == TIMEOUT


def test_three_runs_are_two_doubles() -> None:
    found = doubles([ran(1.0, ending=PLANNED), ran(2.0), ran(3.0)], [])
    assert count(found) == {PLANNED: 1, UNEXPLAINED: 1}


def local(begun: float) -> Execution:
    return ran(begun)._replace(activity=("workflow", "run", "local 1"), limit=10.0)


def test_a_task_that_was_too_late_explains_what_it_ran_locally() -> None:
    double = Double(local(14.5), local(16.0), UNEXPLAINED)
    assert excuse(double, [LateTask(0.0, 10.0)]).cause == TASK_TIMEOUT
    assert excuse(double, []).cause == UNEXPLAINED
    assert excuse(double, [LateTask(17.0, 27.0)]).cause == UNEXPLAINED
    assert excuse(Double(local(14.5), local(16.0), WORKER), [LateTask(0.0, 10.0)]).cause == WORKER
    assert excuse(Double(ran(14.5), ran(16.0), UNEXPLAINED), [LateTask(0.0, 10.0)]).cause == UNEXPLAINED


def test_late_tasks_are_read_from_a_history() -> None:
    events = [
        ("2026-11-29T12:00:01.500000000Z", "STARTED"),
        ("2026-11-29T12:00:11.5Z", "TIMED_OUT"),
        ("2026-11-29T12:00:12Z", "STARTED"),
        ("2026-11-29T12:00:13Z", "COMPLETED"),
    ]
    history = {"events": [{"eventTime": at, "eventType": f"EVENT_TYPE_WORKFLOW_TASK_{what}"} for at, what in events]}
    noon = datetime(2026, 11, 29, 12, tzinfo=timezone.utc).timestamp()
    assert late_tasks(history, noon) == [LateTask(1.5, 11.5)]


def line(run: str, **fields: Any) -> dict[str, Any]:
    return {"at": 1.0, "run": run, **fields}


def test_lines_become_executions() -> None:
    begun = {
        **{"workflow_id": "w", "run_id": "r", "activity_id": "local 1", "worker": "worker-0", "pid": 7},
        **{"attempt": 2, "limit": 10.0, "stored": False},
    }
    lines = [line("a", **begun), line("b", **begun), line("a", ending="returned")]
    one = Execution(("w", "r", "local 1"), "worker-0", 7, 2, 1.0, "returned", 10.0, False)
    assert executions(lines) == [one, one._replace(ending="")]
