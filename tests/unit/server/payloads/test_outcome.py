"""Outcomes, and the failures among them."""

from __future__ import annotations

from temporalio.api.common.v1 import Payload

from envelope_codec.server.payloads.outcome import OPENED, PASSED, SEALED, Outcome, count_failures


def test_failures_are_counted_by_their_names() -> None:
    kinds = [OPENED, PASSED, SEALED, "KeyDenied", "KeyDenied", "NotAllowed"]
    outcomes = [Outcome(Payload(), kind) for kind in kinds]
    assert [outcome.failed for outcome in outcomes] == [False] * 3 + [True] * 3
    assert count_failures(outcomes) == {"KeyDenied": 2, "NotAllowed": 1}
