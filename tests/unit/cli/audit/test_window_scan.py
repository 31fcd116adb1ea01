"""The scan of one window: where another worker goes on, each run counts once, whatever the server does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.cli.audit.stopped import Stopped
from envelope_codec.cli.audit.tally import Tally, to_document
from envelope_codec.cli.audit.window import Part, Window
from envelope_codec.cli.audit.window_scan import Partial, WindowScan
from tests.support.audited_payloads import under
from tests.support.audited_server import AuditedServer, Workflow

T0 = 1_700_000_000_000
QUERY = Window(Part.closed, 0, T0).query(T0)
NUMBER = 450  # three pages


def closed(number: int) -> Workflow:
    return Workflow(f"c{number}", T0 - 10_000 - number, T0 - 1_000 - number, (under("OLD"),))


def server_with(number: int = NUMBER) -> AuditedServer:
    return AuditedServer([closed(one) for one in range(number)])


def payloads(tally: Tally) -> int:
    return sum(need.payloads for need in tally.needs.values())


def failing(status: RPCStatusCode, when: Callable[[str, Any], bool], times: int = 1) -> Callable[[str, Any], None]:
    left = [None] * times

    def before(name: str, request: Any) -> None:
        if left and when(name, request):
            left.pop()
            raise RPCError("no", status, b"")

    return before


def is_second_page(name: str, request: Any) -> bool:
    return name == "list_workflow_executions" and bool(request.next_page_token)


async def test_a_window_is_read_page_by_page() -> None:
    kept = list[str]()
    result = await WindowScan(server_with().reader(), QUERY, lambda partial: kept.append(partial.dump())).read()
    assert (payloads(result.tally), len(result.runs)) == (NUMBER, NUMBER)
    assert [len(Partial.load(text).runs) for text in kept] == [200, 400]


async def test_another_worker_goes_on_after_the_last_page() -> None:
    server = server_with()
    kept = list[str]()
    server.before = failing(RPCStatusCode.UNAVAILABLE, lambda name, request: request_token(name, request) == b"400")
    with pytest.raises(RPCError):
        await WindowScan(server.reader(), QUERY, lambda partial: kept.append(partial.dump())).read()
    server.asked.clear()
    result = await WindowScan(server.reader(), QUERY).read(Partial.load(kept[-1]))
    assert server.asked.count("get_workflow_execution_history") == NUMBER - 400
    whole = await WindowScan(server_with().reader(), QUERY).read()
    assert result.runs == whole.runs
    assert without_ids(result.tally) == without_ids(whole.tally)


def request_token(name: str, request: Any) -> bytes:
    return bytes(request.next_page_token) if name == "list_workflow_executions" else b""


def without_ids(tally: Tally) -> Any:
    document = to_document(tally)
    return {name: value for name, value in document.items() if name != "unread"}


@pytest.mark.parametrize("status", [RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.UNKNOWN])
async def test_a_refused_token_begins_the_window_again_and_nothing_counts_twice(status: RPCStatusCode) -> None:
    server = server_with()
    server.before = failing(status, is_second_page)
    result = await WindowScan(server.reader(), QUERY).read()
    assert (payloads(result.tally), len(result.runs)) == (NUMBER, NUMBER)
    assert server.asked.count("get_workflow_execution_history") == NUMBER + 200, "the first page was read again"


async def test_a_token_that_another_worker_left_may_be_refused_as_well() -> None:
    server = server_with()
    server.before = failing(RPCStatusCode.INVALID_ARGUMENT, is_second_page)
    left = Partial(b"200", Tally(sources=200, failures=7), {1, 2}, 5)
    result = await WindowScan(server.reader(), QUERY).read(left)
    assert (payloads(result.tally), result.tally.failures, result.tally.sources) == (NUMBER, 0, NUMBER)


async def test_a_server_that_refuses_its_tokens_for_ever_is_left() -> None:
    server = server_with()
    server.before = failing(RPCStatusCode.UNKNOWN, is_second_page, times=100)
    with pytest.raises(Stopped, match="again and again") as stopped:
        await WindowScan(server.reader(), QUERY).read()
    assert not stopped.value.final
    with pytest.raises(Stopped, match="again and again"):
        await WindowScan(server.reader(), QUERY).list_runs()


async def test_a_query_that_is_refused_ends_it() -> None:
    server = server_with(1)
    server.before = failing(RPCStatusCode.INVALID_ARGUMENT, lambda name, request: True)
    with pytest.raises(Stopped, match="refuses the query") as stopped:
        await WindowScan(server.reader(), QUERY).read()
    assert stopped.value.final


async def test_a_run_that_comes_twice_counts_once() -> None:
    """As one does that moves to an earlier page while pages are turned: another one moves to the next page."""
    server = server_with()

    def start_another(name: str, request: Any) -> None:
        if request_token(name, request) == b"200":
            late = Workflow("late", T0 - 9_000, T0 - 1, (under("OLD"),))
            server.workflows[late.run_id] = late

    server.before = start_another
    result = await WindowScan(server.reader(), QUERY).read()
    assert (payloads(result.tally), result.tally.sources, len(result.runs)) == (NUMBER, NUMBER, NUMBER)
    listed = await WindowScan(server.reader(), QUERY).list_runs()
    assert len(listed - set(result.runs)) == 1, "what moved to a page that was read is found when they are compared"


async def test_what_is_no_longer_listed_is_gone() -> None:
    server = server_with(3)

    def delete(name: str, request: Any) -> None:
        if name == "get_workflow_execution_history":
            server.workflows.pop("run of c1", None)

    server.before = delete
    result = await WindowScan(server.reader(), QUERY).read()
    assert (result.tally.gone, result.tally.missed, payloads(result.tally)) == (1, 0, 2)


async def test_the_time_of_reading_is_that_of_the_first_worker() -> None:
    left = Partial(b"200", Tally(), set(), 5)
    assert (await WindowScan(server_with().reader(), QUERY).read(left)).read_at == 5
