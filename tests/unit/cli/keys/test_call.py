"""Calls in threads that nobody waits for."""

from __future__ import annotations

from envelope_codec.cli.keys.call import Calls, Deadline
from tests.support.doctor_runs import SECONDS


async def test_what_has_ended_does_not_hang() -> None:
    calls = Calls()
    for number in range(100):
        assert await calls.result(lambda number=number: number, Deadline(SECONDS)) == number  # type: ignore[misc]
        assert not calls.hang, "none of them runs any more"
