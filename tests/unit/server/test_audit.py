"""Audit lines are bounded, hold no content, and go to the file's end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec import ConfigurationError
from envelope_codec.server.audit import Audit, Entry
from envelope_codec.server.payloads.outcome import OPENED, PASSED, Outcome
from envelope_codec.server.web.refusal import NOT_ALLOWED


def test_a_line_is_no_longer_for_a_long_address() -> None:
    assert len(Entry("id", "x" * 60_000).line(200, "")["client"]) < 300  # as a proxy may hand it on


def test_a_line_counts_what_became_of_payloads() -> None:
    entry = Entry("id", "192.0.2.1", verb="decode", payloads=4)
    payload = Payload(data=b"a secret")
    entry.outcomes = [
        Outcome(payload, OPENED, "a", "key-1"),
        Outcome(payload, PASSED),
        Outcome(payload, NOT_ALLOWED, "b"),
        Outcome(payload, "KeyDenied", "a"),
    ]
    line = entry.line(200, "")
    assert (line["opened"], line["passed"], line["sealed"], line["denied"]) == (1, 1, 0, 1)
    assert line["failed"] == {"KeyDenied": 1}
    assert (line["namespaces"], line["key_ids"]) == (["a", "b"], ["key-1"])
    assert "secret" not in json.dumps(line)


def test_a_line_names_no_more_than_fit() -> None:
    entry = Entry("id", "192.0.2.1")
    entry.outcomes = [Outcome(Payload(), OPENED, f"namespace-{number}") for number in range(20)]
    assert entry.line(200, "")["namespaces"][-2:] == ["namespace-15", "and 4 more"]


def test_a_file_is_appended_to_and_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text("earlier\n")
    audit = Audit(str(path))
    audit.write({"number": 1})
    moved = path.rename(tmp_path / "audit.log.1")
    audit.reopen()
    audit.write_summary({"number": 2})
    audit.close()
    assert [json.loads(line)["event"] for line in moved.read_text().splitlines()[1:]] == ["request"]
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["refused"]


def test_a_file_that_can_not_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"server\.audit_file: can't open"):
        Audit(str(tmp_path / "missing" / "audit.log"))
