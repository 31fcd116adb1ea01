"""The moment of an audit: the latest time that the server itself has written."""

from __future__ import annotations

import time

from envelope_codec.cli.audit.moment import latest_moment
from tests.support.audited_server import AuditedServer, Workflow


async def test_it_is_the_latest_start_or_end() -> None:
    assert await latest_moment(AuditedServer([Workflow("a", 1_000, 5_000), Workflow("b", 3_000)]).reader()) == 5_001
    assert await latest_moment(AuditedServer([Workflow("a", 1_000, 2_000), Workflow("b", 3_000)]).reader()) == 3_001


async def test_without_workflows_it_is_now() -> None:
    before = int(time.time() * 1000)
    assert before <= await latest_moment(AuditedServer().reader()) <= time.time() * 1000
