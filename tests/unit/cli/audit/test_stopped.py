"""The end of an audit: whether another attempt may mend it."""

from __future__ import annotations

import pytest
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.cli.audit.stopped import Stopped, is_final, reason_of


@pytest.mark.parametrize(
    ("status", "final"), [(RPCStatusCode.UNAVAILABLE, False), (RPCStatusCode.PERMISSION_DENIED, True)]
)
def test_it_says_at_what_and_why(status: RPCStatusCode, final: bool) -> None:
    error = RPCError("no " * 500, status, b"")
    stopped = Stopped.at("history 'h'", error)
    assert str(stopped).startswith(f"history 'h' can't be read: {status.name}: no no")
    assert len(str(stopped)) < 300
    assert (stopped.final, is_final(error)) == (final, final)
    assert reason_of(error).startswith(status.name)
