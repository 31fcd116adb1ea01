"""The end of an audit that could not go on."""

from __future__ import annotations

import pytest
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.cli.audit.stopped import Stopped, is_final, reason_of


def test_it_says_at_what_and_why() -> None:
    error = RPCError("namespace prod is not found", RPCStatusCode.NOT_FOUND, b"")
    assert str(Stopped.at("workflow w", error)) == "workflow w can't be read: NOT_FOUND: namespace prod is not found"


def test_a_long_reason_is_cut_off() -> None:
    reason = reason_of(RPCError("x" * 10_000, RPCStatusCode.INTERNAL, b""))
    assert reason == "INTERNAL: " + "x" * 200


@pytest.mark.parametrize(
    ("status", "final"), [(RPCStatusCode.UNAVAILABLE, False), (RPCStatusCode.PERMISSION_DENIED, True)]
)
def test_whether_another_attempt_may_mend_it(status: RPCStatusCode, final: bool) -> None:
    error = RPCError("no", status, b"")
    assert (Stopped.at("history 'h'", error).final, is_final(error)) == (final, final)
