"""The activities of a distributed audit, on a server in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from envelope_codec import EnvelopeConfig, __version__
from envelope_codec.cli.audit.checkpoint import Result
from envelope_codec.cli.audit.course import PAGE
from envelope_codec.cli.audit.messages import OTHERS, Kept, Others, PageWork, Request, Span, WindowWork
from envelope_codec.cli.audit.results import Results
from envelope_codec.cli.audit.window import LARGEST
from envelope_codec.cli.audit.window_scan import Partial
from envelope_codec.cli.audit.work import AuditWork
from envelope_codec.cli.reading.reader import SourceKind
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms
from tests.support.audited_payloads import under
from tests.support.audited_server import RETENTION, AuditedServer, Workflow
from tests.support.memory_store import Memory

T0 = 1_700_000_000_000
WHOLE = Span("closed", 0, T0)


def closed(number: int) -> Workflow:
    return Workflow(f"c{number}", T0 - 90_000 - number, T0 - 1_000 - number, (under("OLD"),))


class Place:
    """A server, and a worker that keeps its results in memory."""

    def __init__(self, number: int = 5) -> None:
        self.server = AuditedServer([closed(one) for one in range(number)])
        self.codec = EnvelopeCodec(EnvelopeConfig(key=FakeKms()), namespace="default")
        self.results = Results(Memory(), self.codec)
        self.work = AuditWork(self.server.client(), self.results)
        self.environment = ActivityEnvironment()
        self.told = list[Any]()
        self.environment.on_heartbeat = lambda *details: self.told.append(details)

    async def request(self, **more: Any) -> Request:
        marker = await self.results.put_marker()
        return replace(Request(__version__, "default", "", T0, 60, 1e6, 4, 30, marker), **more)

    async def result(self, request: Request, kept: Kept | Others, window: Span) -> Result:
        return await self.results.get(request.marker, window, kept.result)

    async def do(self, activity: Callable[..., Any], argument: object) -> Any:
        return await self.environment.run(activity, argument)


def partial_in(text: str) -> Partial:
    """What a worker told beside the name of its window."""
    return Partial.load(text.partition("\n")[2])


@pytest.fixture
def place() -> Place:
    return Place()


async def test_the_beginning_fixes_the_moment(place: Place) -> None:
    begun = await place.do(place.work.begin, await place.request(as_of=None))
    assert (begun.as_of, begun.waits, begun.retention, begun.archived) == (T0 - 999, True, RETENTION, False)
    earlier = await place.do(place.work.begin, await place.request(as_of=T0 - 100_000))
    assert (earlier.as_of, earlier.waits) == (T0 - 100_000, False)
    with pytest.raises(ApplicationError, match="yet to come") as raised:
        await place.do(place.work.begin, await place.request(as_of=9 * T0))
    assert raised.value.non_retryable


async def test_another_version_is_told(place: Place) -> None:
    request = await place.request(version="9.9")
    for activity, argument in ((place.work.begin, request), (place.work.read, WindowWork(request, T0, WHOLE))):
        with pytest.raises(ApplicationError, match=f"a worker is of version {__version__}, .* of 9.9") as raised:
            await place.do(activity, argument)
        assert raised.value.type == "VersionDiffers"


async def test_a_worker_that_keeps_results_elsewhere_is_told(place: Place) -> None:
    """At the beginning that ends the audit; later, another worker may do better."""
    request = await place.request(marker="0" * 32)
    for activity, argument, final in (
        (place.work.begin, request, True),
        (place.work.read, WindowWork(request, T0, WHOLE), False),
    ):
        with pytest.raises(ApplicationError, match="give both the same --results") as raised:
            await place.do(activity, argument)
        assert raised.value.non_retryable is final


async def test_a_plan_ends_after_so_many_windows_and_the_next_one_goes_on() -> None:
    place = Place(LARGEST * 3)
    request, low, spans = await place.request(), 0, list[Span]()
    while low < T0:
        plan = await place.do(place.work.plan, WindowWork(request, T0, Span("closed", low, T0), limit=2))
        assert len(plan.windows) <= 2
        assert (plan.windows[0].low, plan.high) == (low, T0)
        spans += plan.windows
        low = plan.windows[-1].high
    assert all(one.high == other.low for one, other in itertools.pairwise(spans)), "no gap"
    sizes = [sum(span.low <= one.close < span.high for one in place.server.workflows.values()) for span in spans]
    assert (sum(sizes), max(sizes) <= LARGEST) == (LARGEST * 3, True)


async def test_what_has_started_since_is_planned_until_now(place: Place) -> None:
    plan = await place.do(place.work.plan, WindowWork(await place.request(), T0, Span("since", T0, 0), limit=PAGE))
    assert (plan.windows[0].low, plan.windows[-1].high) == (T0, plan.high)
    assert plan.high > T0


async def test_a_window_is_read_and_told_page_by_page() -> None:
    place = Place(450)
    request = await place.request()
    kept = await place.do(place.work.read, WindowWork(request, T0, WHOLE))
    assert (kept.sources, kept.new) == (450, 0)
    assert (await place.result(request, kept, WHOLE)).tally.sources == 450
    texts = [details[0] for details in place.told if details and details[0]]
    assert {len(partial_in(text).runs) for text in texts} == {200, 400}


async def test_a_window_goes_on_from_what_the_last_worker_told() -> None:
    place = Place(450)
    work = WindowWork(await place.request(), T0, WHOLE)
    first = await place.do(place.work.read, work)
    text = place.told[-1][0]
    place.server.asked.clear()
    place.environment.info = replace(place.environment.info, heartbeat_details=[text])
    again = await place.do(place.work.read, work)
    assert place.server.asked.count("get_workflow_execution_history") == 450 - len(partial_in(text).runs)
    results = [await place.result(work.request, kept, WHOLE) for kept in (again, first)]
    assert results[0].runs == results[1].runs
    place.server.asked.clear()
    place.environment.info = replace(place.environment.info, heartbeat_details=[text])
    for request, window in ((await place.request(), WHOLE), (work.request, Span("closed", 1, T0))):
        assert (await place.do(place.work.read, WindowWork(request, T0, window))).sources == 450
    assert place.server.asked.count("get_workflow_execution_history") == 900, "of another audit or window: not taken"
    place.environment.info = replace(place.environment.info, heartbeat_details=["no partial result"])
    assert (await place.do(place.work.read, work)).sources == 450, "it begins again"


async def test_a_comparison_reads_the_window_anew_where_something_is_new(place: Place) -> None:
    request = await place.request()
    kept = await place.do(place.work.read, WindowWork(request, T0, WHOLE))
    work = WindowWork(request, T0, WHOLE, kept.result)
    assert await place.do(place.work.compare, work) == kept
    late = closed(77)
    place.server.workflows[late.run_id] = late
    again = await place.do(place.work.compare, work)
    assert (again.new, again.sources, again.result != kept.result) == (1, 6, True)
    tally = (await place.result(request, again, WHOLE)).tally
    assert (tally.sources, sum(need.payloads for need in tally.needs.values())) == (6, 6), "replaced, not added"


async def test_schedules_are_read_unless_only_some_workflows_are_wanted(place: Place) -> None:
    place.server.schedules["s"] = under("OLD")
    for query, sources in (("", 1), ("WorkflowId = 'c1'", 0)):
        request = await place.request(query=query)
        others = await place.do(place.work.read_others, request)
        assert (await place.result(request, others, OTHERS)).tally.sources == sources
        assert others.not_listed == []


async def test_a_list_that_the_server_does_not_have_is_told(place: Place) -> None:
    def refuse(name: str, request: Any) -> None:
        if name == "list_activity_executions":
            raise RPCError("no", RPCStatusCode.UNIMPLEMENTED, b"")

    place.server.before = refuse
    others = await place.do(place.work.read_others, await place.request())
    assert others.not_listed == [SourceKind.activity.value]
    work = WindowWork(await place.request(), T0, WHOLE, not_listed=others.not_listed)
    assert (await place.do(place.work.read, work)).sources == 5


async def test_a_page_is_kept_and_loaded(place: Place) -> None:
    request, page = await place.request(), [Kept(WHOLE, "r", 3)]
    id = await place.do(place.work.keep, PageWork(request, page))
    assert await place.do(place.work.load, PageWork(request, [], id)) == page


@pytest.mark.parametrize(
    ("status", "final"),
    [
        (RPCStatusCode.UNAVAILABLE, False),
        (RPCStatusCode.RESOURCE_EXHAUSTED, False),
        (RPCStatusCode.PERMISSION_DENIED, True),
        (RPCStatusCode.NOT_FOUND, True),
    ],
)
async def test_what_no_other_attempt_would_mend_ends_the_audit(
    place: Place, status: RPCStatusCode, final: bool
) -> None:
    def refuse(name: str, request: Any) -> None:
        raise RPCError("no", status, b"")

    place.server.before = refuse
    with pytest.raises(ApplicationError, match=status.name) as raised:
        await place.do(place.work.begin, await place.request())
    assert raised.value.non_retryable is final


async def test_the_rate_is_shared_by_the_windows_that_are_worked_on_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = list[float]()

    class Noted:
        def __init__(self, rate: float) -> None:
            rates.append(rate)

        async def __call__(self) -> None:
            pass

    monkeypatch.setattr("envelope_codec.cli.audit.work.Pace", Noted)
    request = await place.request(rate=100.0, at_once=4)
    await place.do(place.work.read, WindowWork(request, T0, WHOLE))
    await place.do(place.work.plan, WindowWork(request, T0, WHOLE, limit=PAGE))
    assert rates == [25.0, 100.0]
