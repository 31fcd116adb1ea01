"""The scan: each workflow of one moment counts once, whatever happens meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryResponse
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.cli.audit.checkpoint import Checkpoint
from envelope_codec.cli.audit.findings import ROUNDS, Findings
from envelope_codec.cli.audit.need import KeyVersion
from envelope_codec.cli.audit.scan import Scan
from envelope_codec.cli.audit.stopped import Stopped
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.cli.audit.window import LARGEST, Part
from envelope_codec.cli.reading.reader import ANY_DIVISION
from envelope_codec.errors import ConfigurationError
from tests.support.audited_payloads import under
from tests.support.audited_server import RETENTION, AuditedServer, Workflow

T0 = 1_700_000_000_000
PARAMETERS = {"--address": "a:1", "--namespace": "default", "--query": ""}


class Silent:
    def expect(self, doing: str, total: int | None) -> None:
        pass

    def advance(self) -> None:
        pass


async def scan(
    server: AuditedServer,
    path: Path | None = None,
    *,
    as_of: int | None = T0,
    query: str = "",
    slept: list[float] | None = None,
) -> Findings:
    async def sleep(seconds: float) -> None:
        if slept is not None:
            slept.append(seconds)

    with Checkpoint(path, PARAMETERS | {"--query": query}, as_of) as checkpoint:
        return await Scan(server.reader(), checkpoint, Silent(), query, 60, sleep).run()


def payloads(tally: Tally, key: str = "OLD") -> int:
    return sum(need.payloads for name, need in tally.needs.items() if name.key_id == key)


def closed(number: int, count: int = 1) -> Workflow:
    return Workflow(f"c{number}", T0 - 10_000 - number, T0 - 1_000 - number, tuple(under("OLD") for _ in range(count)))


def running(number: int) -> Workflow:
    return Workflow(f"o{number}", T0 - 1_000 - number, 0, (under("OLD"),))


def once(name: str, do: Callable[[Any], None]) -> Callable[[str, Any], None]:
    """Do something before the first call of that name."""
    left = [do]

    def before(called: str, request: Any) -> None:
        if called == name and left:
            left.pop()(request)

    return before


async def test_all_parts_are_counted() -> None:
    server = AuditedServer([closed(1, 2), closed(2), running(1), Workflow("s", T0, 0, (under("NEW"),))])
    server.schedules["s"] = under("OLD")
    findings = await scan(server)
    assert [payloads(findings.parts[part]) for part in Part] == [3, 1, 0]
    assert payloads(findings.parts[Part.since], "NEW") == 1
    assert payloads(findings.others) == 1
    assert (findings.retention, findings.new, findings.unfinished) == (RETENTION, 0, [])
    assert server.asked.count("list_workflow_executions") == 2 + 2 + 1 + 2 + 1, (
        "moment, reading, runs of audits, one comparison, since"
    )
    need = findings.parts[Part.closed].needs[KeyVersion("OLD", "")]
    assert (need.runs, need.last_close) == (2, (T0 - 1_001) / 1_000)


async def test_when_the_open_workflows_were_read_is_told() -> None:
    """When the first of them was: what that one has sealed since is not in it."""
    server = AuditedServer([closed(1), *(running(number) for number in range(LARGEST + 1))])
    seen: dict[str, float] = {}

    def note(name: str, request: Any) -> None:
        if name == "get_workflow_execution_history":
            is_open = request.execution.workflow_id.startswith("o")
            seen.setdefault("open" if is_open else "closed", time.time() * 1_000)

    server.before = note
    findings = await scan(server)
    assert int(seen["closed"]) <= findings.read_at <= seen["open"]


@pytest.mark.parametrize("name", ["history_archival_state", "visibility_archival_state"])
@pytest.mark.parametrize(("state", "archived"), [(0, False), (1, False), (2, True)])
async def test_a_namespace_with_an_archive_is_known(name: str, state: int, archived: bool) -> None:
    server = AuditedServer([closed(1)])
    server.config[name] = state
    assert (await scan(server)).archived is archived


async def test_a_memo_that_the_server_repeats_counts_once() -> None:
    memo = {"m": under("OLD")}
    server = AuditedServer([Workflow("o", T0 - 5, 0, (under("OLD"),), memo)])
    assert payloads((await scan(server)).parts[Part.open]) == 2


async def test_many_workflows_are_read_in_windows(tmp_path: Path) -> None:
    server = AuditedServer([closed(number) for number in range(LARGEST + 200)])
    findings = await scan(server, tmp_path / "checkpoint")
    assert payloads(findings.parts[Part.closed]) == LARGEST + 200
    assert server.asked.count("get_workflow_execution_history") == LARGEST + 200


async def test_a_run_that_ends_meanwhile_stays_where_it_was() -> None:
    server = AuditedServer([running(1), closed(1)])

    def end(request: Any) -> None:
        server.workflows["run of o1"].close = T0 + 5

    server.before = once("get_workflow_execution_history", end)
    findings = await scan(server)
    assert [findings.parts[part].sources for part in Part] == [1, 1, 0]


@pytest.mark.parametrize(("part", "make"), [(Part.closed, closed), (Part.open, running)])
async def test_a_run_that_is_listed_late_is_read(part: Part, make: Callable[[int], Workflow]) -> None:
    """Visibility is not up to date at once."""
    server, late = AuditedServer([make(1)]), make(2)
    server.before = once("list_schedules", lambda _: server.workflows.update({late.run_id: late}))
    findings = await scan(server)
    assert payloads(findings.parts[part]) == 2, "the window was read again, and replaced what it had"
    assert findings.unfinished == []


async def test_new_runs_without_end_make_it_incomplete() -> None:
    server, number = AuditedServer([closed(1)]), [100]

    def add(name: str, request: Any) -> None:
        if name == "list_workflow_executions" and "CloseTime >= " in request.query:
            number[0] += 1
            late = closed(number[0])
            server.workflows[late.run_id] = late

    server.before = add
    findings = await scan(server)
    assert findings.new > 0
    assert findings.unfinished == [f"{findings.new} workflows were still listed late after {ROUNDS} comparisons"]


async def test_a_run_that_is_deleted_meanwhile_is_gone() -> None:
    server = AuditedServer([closed(1), closed(2)])
    server.before = once("get_workflow_execution_history", lambda request: drop(server, request))
    findings = await scan(server)
    assert (findings.parts[Part.closed].gone, findings.parts[Part.closed].sources) == (1, 1)
    assert findings.unfinished == []


async def test_what_is_deleted_between_two_pages_of_its_history_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half of it would be no true count, and nothing needs it any more."""
    server = AuditedServer([closed(1), closed(2)])
    answer = server._answer_get_workflow_execution_history

    def in_two_pages(request: Any) -> Any:
        if request.next_page_token:
            drop(server, request)
        page = answer(request)
        if request.execution.workflow_id == "c1":
            page.next_page_token = b"more"
        return page

    monkeypatch.setattr(server, "_answer_get_workflow_execution_history", in_two_pages)
    findings = await scan(server)
    assert (findings.parts[Part.closed].gone, payloads(findings.parts[Part.closed])) == (1, 1)
    assert findings.unfinished == []


async def test_a_run_that_a_page_skips_is_found_by_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    server, skipped = AuditedServer([closed(number) for number in range(5)]), list[str]()
    answer = server._answer_list_workflow_executions

    def skip_one(request: Any) -> Any:
        page = answer(request)
        if "CloseTime <" in request.query and not skipped:
            skipped.append(page.executions.pop(2).execution.workflow_id)
        return page

    monkeypatch.setattr(server, "_answer_list_workflow_executions", skip_one)
    findings = await scan(server)
    assert skipped
    assert payloads(findings.parts[Part.closed]) == 5
    assert findings.unfinished == []


def drop(server: AuditedServer, request: Any) -> None:
    del server.workflows[request.execution.run_id]


@pytest.mark.parametrize("status", [RPCStatusCode.NOT_FOUND, RPCStatusCode.DATA_LOSS])
async def test_a_history_that_can_t_be_read_makes_it_incomplete(status: RPCStatusCode) -> None:
    server = AuditedServer([closed(1), closed(2)])

    def fail(name: str, request: Any) -> None:
        if name == "get_workflow_execution_history" and request.execution.workflow_id == "c1":
            raise RPCError("no such thing", status, b"")

    server.before = fail
    findings = await scan(server)
    assert findings.parts[Part.closed].unread == {"workflow 'c1' run of c1": f"{status.name}: no such thing"}
    assert payloads(findings.parts[Part.closed]) == 1
    assert findings.unfinished == ["1 could not be read"]


async def test_a_history_in_a_form_that_can_t_be_read_makes_it_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    server = AuditedServer([closed(1)])
    empty = GetWorkflowExecutionHistoryResponse()
    monkeypatch.setattr(server, "_answer_get_workflow_execution_history", lambda request: empty)
    findings = await scan(server)
    assert findings.parts[Part.closed].unread == {"workflow 'c1' run of c1": "the server gave a history without events"}
    assert findings.unfinished == ["1 could not be read"]


async def test_what_a_server_says_is_cut_short() -> None:
    server = AuditedServer([closed(1)])

    def fail(name: str, request: Any) -> None:
        if name == "get_workflow_execution_history":
            raise RPCError("x" * 100_000, RPCStatusCode.DATA_LOSS, b"")

    server.before = fail
    [why] = (await scan(server)).parts[Part.closed].unread.values()
    assert len(why) < 300


@pytest.mark.parametrize("status", [RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.UNKNOWN])
async def test_a_refused_token_begins_the_window_again(status: RPCStatusCode) -> None:
    server, refused = AuditedServer([closed(number) for number in range(500)]), list[int]()

    def refuse(name: str, request: Any) -> None:
        if name == "list_workflow_executions" and request.next_page_token == b"400" and not refused:
            refused.append(1)
            raise RPCError("bad token", status, b"")

    server.before = refuse
    findings = await scan(server)
    assert refused
    assert payloads(findings.parts[Part.closed]) == 500


@pytest.mark.parametrize(
    ("call", "status", "said"),
    [
        ("describe_namespace", RPCStatusCode.NOT_FOUND, "namespace 'default' can't be read: NOT_FOUND"),
        ("list_workflow_executions", RPCStatusCode.UNAVAILABLE, "namespace 'default' can't be read: UNAVAILABLE"),
        ("get_workflow_execution_history", RPCStatusCode.PERMISSION_DENIED, "workflow 'c1' in namespace 'default'"),
        ("list_schedules", RPCStatusCode.PERMISSION_DENIED, "namespace 'default' can't be read: PERMISSION_DENIED"),
        ("describe_schedule", RPCStatusCode.PERMISSION_DENIED, "schedule 's' in namespace 'default'"),
        ("list_activity_executions", RPCStatusCode.PERMISSION_DENIED, "namespace 'default' can't be read"),
    ],
)
async def test_what_stops_it_is_named(call: str, status: RPCStatusCode, said: str) -> None:
    server = AuditedServer([closed(1)])
    server.schedules["s"] = under("OLD")

    def fail(name: str, request: Any) -> None:
        if name == call:
            raise RPCError("no", status, b"")

    server.before = fail
    with pytest.raises(Stopped, match=said):
        await scan(server)


async def test_a_query_that_the_server_refuses_is_named() -> None:
    server = AuditedServer([closed(1)])

    def fail(name: str, request: Any) -> None:
        if "Nonsense" in getattr(request, "query", ""):
            raise RPCError("no such attribute", RPCStatusCode.INVALID_ARGUMENT, b"")

    server.before = fail
    with pytest.raises(Stopped, match="the server refuses the query: no such attribute"):
        await scan(server, query="Nonsense = 1")


async def test_a_query_leaves_schedules_out() -> None:
    server = AuditedServer([closed(1)])
    server.schedules["s"] = under("OLD")

    def check(name: str, request: Any) -> None:
        assert name != "count_workflow_executions" or "(WorkflowId = 'c1')" in request.query

    server.before = check
    assert (await scan(server, query="WorkflowId = 'c1'")).others.sources == 0


@pytest.mark.parametrize(
    "workflows",
    [
        [Workflow("a", T0 - 9_000, T0 - 5), Workflow("b", T0 - 8_000)],
        [Workflow("a", T0 - 9_000, T0 - 8_000), Workflow("b", T0 - 5)],
        [Workflow("a", T0 - 9_000, T0 - 5), Workflow("b", T0 - 8_000, T0 - 7_000)],
    ],
)
async def test_the_moment_is_the_latest_that_the_server_wrote(workflows: list[Workflow]) -> None:
    findings = await scan(AuditedServer(workflows), as_of=None)
    assert findings.as_of == T0 - 4
    assert sum(findings.parts[part].sources for part in (Part.closed, Part.open)) == 2
    assert findings.parts[Part.since].sources == 0


async def test_the_server_s_own_workflows_count_for_the_moment() -> None:
    server, asked = AuditedServer([closed(1)]), list[str]()
    server.before = lambda name, request: asked.append(getattr(request, "query", ""))
    await scan(server, as_of=None)
    assert all(ANY_DIVISION in query for query in asked if query)


async def test_a_namespace_without_workflows_is_looked_at_now() -> None:
    before = int(time.time() * 1_000)
    assert before <= (await scan(AuditedServer(), as_of=None)).as_of <= time.time() * 1_000


@pytest.mark.parametrize(
    ("as_of", "waited"),
    [(None, [60]), (T0 + 1, [60]), (T0 - 60_000 + 2, [60]), (T0 - 60_000 + 1, []), (T0 - 90_000, [])],
)
async def test_it_waits_only_for_what_may_not_be_listed_yet(as_of: int | None, waited: list[float]) -> None:
    slept: list[float] = []
    await scan(AuditedServer([Workflow("a", T0 - 9_000, T0)]), as_of=as_of, slept=slept)
    assert slept == waited


async def test_a_server_whose_clock_is_ahead_decides_what_is_past() -> None:
    ahead = int(time.time() * 1_000) + 3_600_000
    findings = await scan(AuditedServer([Workflow("a", ahead - 1)]), as_of=ahead)
    assert findings.parts[Part.open].sources == 1


async def test_a_moment_to_come_is_refused() -> None:
    with pytest.raises(Stopped, match="is yet to come"):
        await scan(AuditedServer([closed(1)]), as_of=9_000_000_000_000)


@pytest.mark.parametrize("asked", range(0, 40, 3))
async def test_a_scan_that_was_ended_goes_on_to_the_same_totals(asked: int, tmp_path: Path) -> None:
    workflows = [closed(number) for number in range(12)] + [running(number) for number in range(4)]
    whole = await scan(AuditedServer(workflows))
    server, calls = AuditedServer(workflows), [0]

    def end(name: str, request: Any) -> None:
        calls[0] += 1
        if calls[0] == asked:
            raise RPCError("down", RPCStatusCode.UNAVAILABLE, b"")

    server.before = end
    findings = None
    for _ in range(2):
        try:
            findings = await scan(server, tmp_path / "checkpoint")
        except Stopped:
            continue
    assert findings is not None
    assert findings.parts == whole.parts


async def test_what_was_counted_is_not_read_again(tmp_path: Path) -> None:
    server = AuditedServer([closed(1), running(1)])
    await scan(server, tmp_path / "checkpoint", as_of=None)
    server.asked.clear()
    findings = await scan(server, tmp_path / "checkpoint", as_of=None)
    assert "get_workflow_execution_history" not in server.asked
    assert server.asked.count("count_workflow_executions") == 1, "only what has started since is divided anew"
    assert [payloads(findings.parts[part]) for part in Part] == [1, 1, 0]


async def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    server = AuditedServer([closed(1)])
    await scan(server, tmp_path / "checkpoint")
    with pytest.raises(ConfigurationError, match="is the checkpoint of another audit, with another --query"):
        await scan(server, tmp_path / "checkpoint", query="WorkflowId = 'a'")
    with pytest.raises(ConfigurationError, match="with another --as-of"):
        await scan(server, tmp_path / "checkpoint", as_of=T0 - 1)


async def test_the_checkpoint_of_another_namespace_of_this_name_is_refused(tmp_path: Path) -> None:
    """As after a port was forwarded to another cluster: what that one held says nothing of this one."""
    server = AuditedServer([closed(1)])
    await scan(server, tmp_path / "checkpoint")
    server.namespace_id = "another"
    with pytest.raises(ConfigurationError, match="another namespace of this name"):
        await scan(server, tmp_path / "checkpoint")


async def test_open_workflows_of_an_old_checkpoint_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may have been sealed into meanwhile. What had ended has not."""
    server = AuditedServer([closed(1), running(1)])
    await scan(server, tmp_path / "checkpoint")
    later = time.time() + 90_000
    monkeypatch.setattr(time, "time", lambda: later)
    server.workflows["run of o1"].payloads = (under("OLD"), under("OLD"))
    server.asked.clear()
    findings = await scan(server, tmp_path / "checkpoint")
    assert server.asked.count("get_workflow_execution_history") == 1
    assert [payloads(findings.parts[part]) for part in Part] == [1, 2, 0]
    assert findings.read_at == int(later * 1_000)


async def test_a_server_whose_clock_is_far_ahead_has_all_its_workflows_read() -> None:
    ahead = int(time.time() * 1_000) + 400 * 86_400_000
    server = AuditedServer([closed(1), Workflow("s", ahead, 0, (under("NEW"),))])
    assert payloads((await scan(server)).parts[Part.since], "NEW") == 1


async def test_many_schedules_are_read_a_piece_at_a_time() -> None:
    server = AuditedServer()
    server.schedules = {f"s{number}": under("OLD") for number in range(2 * LARGEST + 1)}
    findings = await scan(server)
    assert findings.others.sources == payloads(findings.others) == 2 * LARGEST + 1


@pytest.mark.parametrize("name", ["_answer_list_workflow_executions", "_answer_list_schedules"])
async def test_a_list_that_gives_the_same_page_again_and_again_ends_the_audit(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = getattr(AuditedServer, name)

    def repeat(self: AuditedServer, request: Any) -> Any:
        page = answer(self, request)
        page.next_page_token = b"0"
        return page

    monkeypatch.setattr(AuditedServer, name, repeat)
    with pytest.raises(Stopped, match="the same page again and again"):
        await scan(AuditedServer([closed(1)]))


async def test_a_history_that_gives_the_same_page_again_and_again_makes_it_incomplete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endless = GetWorkflowExecutionHistoryResponse(next_page_token=b"0")
    monkeypatch.setattr(AuditedServer, "_answer_get_workflow_execution_history", lambda self, request: endless)
    findings = await scan(AuditedServer([closed(1)]))
    assert findings.unfinished == ["1 could not be read"]


async def test_what_has_no_history_and_no_list_makes_it_incomplete() -> None:
    server = AuditedServer([closed(1)])
    server.workflows["run of c1"].type, server.workflows["run of c1"].division = "", "77"
    findings = await scan(server)
    assert findings.unfinished == ["1 could not be read"]
    assert list(findings.parts[Part.closed].unread) == ["execution of an unknown kind 'c1' run of c1"]
