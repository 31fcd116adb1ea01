"""Secrets stay out of an SDK's debug log, in the thread that calls and nowhere else."""

from __future__ import annotations

import logging
import threading

import pytest

from envelope_codec.provider import WireLog

SDK = logging.getLogger("sdk_of_a_test.http")
WIRE_LOG = WireLog(SDK.name)


def test_requests_and_tracebacks_are_left_out_within_and_nothing_outside(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with WIRE_LOG.silenced():
        with WIRE_LOG.silenced():
            SDK.debug("the secret sesame")
        SDK.debug("the secret sesame")
        try:
            raise ValueError("sesame")
        except ValueError:
            SDK.warning("a failure", exc_info=True)
    assert "sesame" not in caplog.text
    assert "a failure" in caplog.text
    SDK.debug("what others do")
    assert "what others do" in caplog.text


def test_other_threads_log_as_before(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with WIRE_LOG.silenced():
        thread = threading.Thread(target=SDK.debug, args=("of another thread",))
        thread.start()
        thread.join()
    assert "of another thread" in caplog.text
