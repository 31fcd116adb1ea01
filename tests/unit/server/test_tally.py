"""Refusals without an audit line each are counted, and summed up."""

from __future__ import annotations

import json
from typing import Any

from envelope_codec.server.audit import Entry
from envelope_codec.server.auth.principal import Principal
from envelope_codec.server.tally import Tally


async def test_refusals_without_end_are_counted_and_summed_up() -> None:
    written: list[dict[str, Any]] = []
    tally = Tally(written.append)
    ada = Entry("id", "192.0.2.1", principal=Principal("i", "ada"))
    assert [tally.has_line(ada, 429, "too_many_requests") for _ in range(100)] == [True] + [False] * 99
    assert all(tally.has_line(ada, 403, "not_allowed") for _ in range(1_000))  # bounded by the caller's rate
    strangers = [tally.has_line(Entry("id", f"10.0.{n % 250}.{n // 250}"), 401, "invalid_token") for n in range(5_000)]
    assert 600 <= strangers.count(True) < 700
    assert tally.has_line(ada, 401, "invalid_token")
    tally.close()
    [line] = written
    assert line["requests"] == 99 + strangers.count(False)
    assert line["most"][1] == {
        "client": "192.0.2.1",
        "issuer": "i",
        "subject": "ada",
        "status": 429,
        "error": "too_many_requests",
        "requests": 99,
    }
    assert line["most"][0]["client"] == "others"  # more than are told apart
    assert line["callers"] <= 1_001
    assert len(json.dumps(line)) < 10_000
    tally.close()
    assert len(written) == 1


async def test_one_caller_from_many_addresses_has_one_line() -> None:
    tally = Tally(lambda line: None)
    ada, network = Principal("i", "ada"), [f"2001:db8::{n:x}" for n in range(500)]
    known = [tally.has_line(Entry("id", client, principal=ada), 429, "too_many_requests") for client in network]
    assert known.count(True) == 1
    strangers = [tally.has_line(Entry("id", client), 429, "too_many_from_address") for client in network]
    assert strangers.count(True) == 1
    tally.close()


async def test_a_summary_that_can_t_be_written_is_kept() -> None:
    written: list[dict[str, Any]] = []
    full = True

    def write(line: dict[str, Any]) -> None:
        if full:
            raise OSError(28, "No space left on device")
        written.append(line)

    tally = Tally(write)
    for _ in range(3):
        tally.has_line(Entry("id", "192.0.2.1"), 429, "too_many_from_address")
    tally.flush()
    full = False
    tally.flush()
    assert [line["requests"] for line in written] == [2]
    tally.close()
