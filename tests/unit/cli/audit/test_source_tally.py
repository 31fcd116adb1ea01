"""The tally of one source: nothing of it counts unless it can be read to its end."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.cli.audit.source_tally import run_number, tally_source
from envelope_codec.cli.audit.stopped import Stopped
from tests.support.audited_payloads import under
from tests.support.audited_server import AuditedServer, Workflow


def server() -> AuditedServer:
    return AuditedServer([Workflow("w", 1_000, 2_000, (under("OLD"),))])


def refusing(status: RPCStatusCode) -> Any:
    def before(name: str, request: Any) -> None:
        if name == "get_workflow_execution_history":
            raise RPCError("no", status, b"")

    return before


async def test_a_source_is_counted() -> None:
    reader = server().reader()
    [source] = [one async for one in reader.workflows()]
    assert (await tally_source(reader, source)).sources == 1


@pytest.mark.parametrize("status", [RPCStatusCode.DATA_LOSS, RPCStatusCode.INTERNAL, RPCStatusCode.NOT_FOUND])
async def test_one_that_can_t_be_read_is_missed(status: RPCStatusCode) -> None:
    fake = server()
    reader = fake.reader()
    [source] = [one async for one in reader.workflows()]
    fake.before = refusing(status)
    tally = await tally_source(reader, source)
    assert (tally.missed, tally.gone, tally.needs) == (1, 0, {})


async def test_one_that_is_no_longer_listed_is_gone() -> None:
    fake = server()
    reader = fake.reader()
    [source] = [one async for one in reader.workflows()]
    fake.workflows.clear()
    assert (await tally_source(reader, source)).gone == 1


async def test_a_server_that_can_t_be_asked_ends_it() -> None:
    fake = server()
    reader = fake.reader()
    [source] = [one async for one in reader.workflows()]
    for status, final in ((RPCStatusCode.UNAVAILABLE, False), (RPCStatusCode.PERMISSION_DENIED, True)):
        fake.before = refusing(status)
        with pytest.raises(Stopped, match=status.name) as stopped:
            await tally_source(reader, source)
        assert stopped.value.final is final


def test_a_run_has_one_number() -> None:
    assert run_number("a") == run_number("a") != run_number("b")
    assert 0 <= run_number("a") < 2**64
