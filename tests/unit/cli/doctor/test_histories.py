"""Histories of a Temporal server, where there is none to be had. The e2e tests read real ones."""

from __future__ import annotations

import pytest

from envelope_codec.cli.connection import Connection
from envelope_codec.cli.doctor.histories import ReadFailure, ServerFailed, read_server
from envelope_codec.cli.keys.call import Deadline


async def test_a_server_that_is_not_there_can_t_be_reached() -> None:
    with pytest.raises(ServerFailed) as failed:
        await read_server(Connection("127.0.0.1:1", None, {}), ["default"], Deadline(60))
    assert failed.value.failure is ReadFailure.unreachable
    assert failed.value.words


async def test_who_gives_no_answer_is_late() -> None:
    with pytest.raises(ServerFailed) as failed:
        await read_server(Connection("127.0.0.1:1", None, {}), ["default"], Deadline(0))
    assert (failed.value.failure, failed.value.words) == (ReadFailure.late, "")
