"""What activities heartbeat is not in the SDK's log."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import pytest
from temporalio import activity
from temporalio.worker import _activity

from envelope_codec.temporal import sdk_log
from envelope_codec.temporal.sdk_log import keep_heartbeats_out


@pytest.mark.parametrize("log", [activity.logger, _activity.logger], ids=["of activities", "of the worker"])
@pytest.mark.parametrize("times", [1, 2])
def test_the_details_of_a_heartbeat_are_left_out_and_nothing_else_is(
    log: Any, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for _ in range(times):
        keep_heartbeats_out()
    log.debug("Recording heartbeat with details %s", ["marigold", {"a": "lamp"}])
    log.debug("Running activity %s (token %s)", "echo", b"1")
    first, second = caplog.records
    assert "marigold" not in f"{first.getMessage()}{vars(first)}"
    assert "lamp" not in f"{first.getMessage()}{vars(first)}"
    assert first.getMessage() == "Recording heartbeat with details that are not shown"
    assert second.getMessage() == "Running activity echo (token b'1')"


def test_the_sdk_says_it_in_these_words() -> None:
    """Else the filter would let it pass."""
    assert f'logger.debug("{sdk_log._HEARTBEAT} %s", details)' in inspect.getsource(_activity)
