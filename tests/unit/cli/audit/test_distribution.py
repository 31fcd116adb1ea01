"""A distributed audit, as the command sees it: where it runs, and what it makes of the results."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec import EnvelopeConfig
from envelope_codec.cli import main
from envelope_codec.cli.audit.checkpoint import Checkpoint, Result
from envelope_codec.cli.audit.distribution import (
    Audited,
    check_moment,
    check_settings,
    check_summary,
    load_findings,
)
from envelope_codec.cli.audit.messages import OTHERS, Beginning, Kept, Request, Span, Summary
from envelope_codec.cli.audit.results import Results
from envelope_codec.cli.audit.scan import Scan
from envelope_codec.cli.audit.stopped import Stopped
from envelope_codec.cli.audit.tally import Tally, to_document
from envelope_codec.cli.audit.window import LARGEST, Part
from envelope_codec.errors import ConfigurationError
from envelope_codec.store import parse_store_url
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms
from tests.support.audit_in_pieces import audit_in_pieces
from tests.support.audited_payloads import under
from tests.support.audited_server import AuditedServer, Workflow
from tests.support.memory_store import Memory
from tests.support.rewrapped_rows import Nobody

T0 = 1_700_000_000_000


def audited(query: str = "", as_of: int | None = None) -> Audited:
    return Audited("billing", query, as_of, 60, 200)


def test_the_id_says_what_is_audited() -> None:
    assert audited().workflow_id == "envelope-codec.audit/billing"
    ids = {audited(query).workflow_id for query in ("", "WorkflowType = 'a'", "WorkflowType = 'b'")}
    assert len(ids) == 3
    assert audited(as_of=5).workflow_id == audited().workflow_id, "a second command follows the first one's"


def test_another_moment_is_told() -> None:
    check_moment(audited(), 5)
    check_moment(audited(as_of=5), 5)
    with pytest.raises(Stopped, match=r"another audit .* as of 1970-01-01T00:00:00\.005Z"):
        check_moment(audited(as_of=6), 5)


def test_results_need_a_place_of_their_own_and_are_sealed(tmp_path: Path) -> None:
    own, other = f"file://{tmp_path}/a", f"file://{tmp_path}/b?name=x"
    config = EnvelopeConfig(key=FakeKms(), storage=own)
    check_settings(config, parse_store_url(other))
    with pytest.raises(ConfigurationError, match="which audits count"):
        check_settings(config, parse_store_url(own))
    with pytest.raises(ConfigurationError, match="must be sealed"):
        check_settings(EnvelopeConfig(key=FakeKms(), sealing=False), parse_store_url(other))


class KeptAudit:
    """An audit whose results are kept: three windows of each part."""

    def __init__(self) -> None:
        self.results = Results(Memory(), EnvelopeCodec(EnvelopeConfig(key=FakeKms()), namespace="default"))
        self.windows = {
            Part.closed: [Span("closed", low, low + 3) for low in (0, 3, 6)],
            Part.open: [Span("open", low, low + 3) for low in (0, 3, 6)],
            Part.since: [Span("since", low, low + 10**12) for low in (9, 9 + 10**12, 9 + 2 * 10**12)],
        }

    async def summary(self, audit: str = "m") -> Summary:
        pages = {}
        for number, (part, windows) in enumerate(self.windows.items(), 1):
            kept = []
            for one, window in enumerate(windows):
                result = Result(Tally(sources=number), array("Q", [1]), 100 - one)
                kept.append(Kept(window, await self.results.put("m", window, result), 1))
            pages[part.value] = [await self.results.put_page("m", page) for page in (kept[:2], kept[2:])]
        others = await self.results.put("m", OTHERS, Result(Tally(sources=50), array("Q"), 1))
        request = Request("1", "billing", "", None, 60, 200, 8, 30, audit)
        return Summary(request, Beginning(9, True, 86_400, True), pages, others, 4)


async def test_results_of_windows_are_merged() -> None:
    kept, advanced = KeptAudit(), list[None]()
    summary = await kept.summary()
    findings = await load_findings(kept.results, summary, lambda: advanced.append(None))
    assert [findings.parts[part].sources for part in Part] == [3, 6, 9]
    assert (findings.others.sources, findings.read_at, findings.as_of, findings.new) == (50, 98, 9, 4)
    assert (findings.retention, findings.archived, len(advanced)) == (86_400, True, 9)
    await kept.results.forget(summary.others)
    with pytest.raises(Stopped, match="give the same --results"):
        await load_findings(kept.results, summary, lambda: None)


async def test_results_of_another_audit_are_not_taken() -> None:
    """Anybody who can start workflows can repeat the arguments of an earlier audit, with its pages, without a key."""
    kept = KeptAudit()
    with pytest.raises(Stopped, match="is one of another"):
        await load_findings(kept.results, await kept.summary("this one"), lambda: None)


@pytest.mark.parametrize(
    ("part", "windows"),
    [
        (Part.closed, [Span("closed", 0, 3), Span("closed", 6, 9)]),
        (Part.closed, [Span("closed", 0, 3), Span("closed", 3, 6)]),
        (Part.closed, [Span("closed", 0, 9), Span("closed", 0, 9)]),
        (Part.open, [Span("closed", 0, 9)]),
        (Part.since, [Span("since", 9, 10)]),
        (Part.closed, []),
    ],
)
async def test_windows_that_are_not_all_of_the_namespace_are_not_taken(part: Part, windows: list[Span]) -> None:
    kept = KeptAudit()
    kept.windows[part] = windows
    with pytest.raises(Stopped, match="not all of the namespace"):
        await load_findings(kept.results, await kept.summary(), lambda: None)


async def test_an_audit_of_something_else_is_not_taken() -> None:
    """Anybody who can start workflows can begin one under the id that the command looks for."""
    summary = await KeptAudit().summary()
    check_summary(audited(), summary)
    check_summary(audited(as_of=9), summary)
    others = (audited("WorkflowType = 'a'"), audited()._replace(namespace="other"))
    for one in others:
        with pytest.raises(Stopped, match="something else"):
            check_summary(one, summary)
    with pytest.raises(Stopped, match="as of"):
        check_summary(audited(as_of=8), summary)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--distributed"], "--results"),
        (["--results", "file:///tmp/r"], "goes with --distributed"),
        (["--distributed", "--results", "file:///tmp/r", "--checkpoint", "c"], "needs none"),
        (["--distributed", "--results", "file:///tmp/r", "--import"], "does not go with"),
        (["--distributed", "--results", "file:///tmp/r"], "nothing is configured"),
    ],
)
def test_options_that_don_t_go_together(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ENVELOPE_CODEC_KEY", "ENVELOPE_CODEC_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as left:
        main(["audit", "--address", "127.0.0.1:1", *options])
    assert left.value.code == 2
    assert said in capsys.readouterr().err


def test_an_interrupt_leaves_it_running(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(*args: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("envelope_codec.cli.audit.command.audit_by_workers", interrupted)
    monkeypatch.setenv(
        "ENVELOPE_CODEC_KEY", "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    )
    options = ["--distributed", "--results", f"file://{tmp_path}", "--work-namespace", "ops"]
    with pytest.raises(SystemExit) as left:
        main(["audit", "--address", "127.0.0.1:1", "--namespace", "billing", *options])
    assert left.value.code == 130
    said = capsys.readouterr().err
    assert "it goes on without this command" in said
    assert "temporal workflow cancel --namespace ops --workflow-id envelope-codec.audit/billing" in said


def closed(number: int, **more: Any) -> Workflow:
    return Workflow(f"c{number}", T0 - 90_000 - number, T0 - 1_000 - number, (under("OLD"),), **more)


def many(server: AuditedServer) -> None:
    """Several windows."""


def refuse_lists(server: AuditedServer) -> None:
    """The server lists standalone activities among workflows alone, and has something that nobody knows."""
    for name, division in (("run of c1", "3332429922"), ("run of c2", "77")):
        server.workflows[name].type, server.workflows[name].division = "", division
    server.before = _raising("list_activity_executions", RPCStatusCode.UNIMPLEMENTED)


def lose_histories(server: AuditedServer) -> None:
    server.before = _raising("get_workflow_execution_history", RPCStatusCode.DATA_LOSS)


def _raising(call: str, status: RPCStatusCode) -> Callable[[str, Any], None]:
    def before(name: str, request: Any) -> None:
        if name == call:
            raise RPCError("no", status, b"")

    return before


@pytest.mark.parametrize("make", [many, refuse_lists, lose_histories])
async def test_it_finds_the_same_as_on_one_machine(make: Callable[[AuditedServer], None]) -> None:
    number = 2 * LARGEST + 7 if make is many else 250

    def server() -> AuditedServer:
        made = AuditedServer([closed(one) for one in range(number)])
        for one in range(3):
            made.workflows[f"o{one}"] = Workflow(f"o{one}", T0 - 5 - one, 0, (under("OLD"),))
            made.workflows[f"s{one}"] = Workflow(f"s{one}", T0 + 5 + one, 0, (under("NEW"),))
        made.schedules["s"] = under("OLD")
        make(made)
        return made

    with Checkpoint(None, {}, T0) as known:
        alone = await Scan(server().reader(), known, Nobody(), wait=0).run()
    shared = await audit_in_pieces(server(), T0)
    for part in Part:
        assert to_document(shared.parts[part]) == to_document(alone.parts[part]), part
    assert to_document(shared.others) == to_document(alone.others)
    assert (shared.new, shared.unfinished, shared.retention) == (alone.new, alone.unfinished, alone.retention)
    if make is refuse_lists:
        unread = {name.partition("'")[0].strip() for name in shared.parts[Part.closed].unread}
        assert unread == {"execution of an unknown kind"}
        assert shared.parts[Part.closed].missed == 2
