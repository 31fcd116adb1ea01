"""Signs of life: they go on while the work waits, and carry what the next worker needs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from envelope_codec.cli.distributed.heartbeat import LONGEST, beating


class Told:
    """What was told, and the environment that tells it."""

    def __init__(self, *details: Any, enough: int = 1) -> None:
        self.texts = list[str]()
        self.enough = asyncio.Event()
        self._wanted = enough
        self.environment = ActivityEnvironment()
        self.environment.on_heartbeat = self._note
        info = self.environment.info
        timeout = timedelta(seconds=0.03)
        self.environment.info = replace(info, heartbeat_details=details, heartbeat_timeout=timeout)

    def _note(self, *said: Any) -> None:
        self.texts.append(said[0])
        if len(self.texts) >= self._wanted:
            self.enough.set()


async def test_they_go_on_while_the_work_waits() -> None:
    told = Told(enough=5)

    async def work() -> None:
        async with beating() as heartbeat:
            heartbeat.say("a page")
            await told.enough.wait()

    await asyncio.wait_for(told.environment.run(work), 30)
    assert told.texts == ["a page"] * 5


@pytest.mark.parametrize(("details", "last"), [(("left",), "left"), ((), ""), ((7,), "")])
async def test_what_the_last_worker_left_is_there_and_is_said_again(details: Any, last: str) -> None:
    told = Told(*details)

    async def work() -> str:
        async with beating() as heartbeat:
            await told.enough.wait()
            return heartbeat.last

    assert await told.environment.run(work) == last
    assert set(told.texts) == {last}


async def test_what_is_too_long_for_the_server_is_not_sent() -> None:
    told = Told()

    async def work() -> None:
        async with beating() as heartbeat:
            heartbeat.say("short")
            heartbeat.say("x" * (LONGEST + 1))

    await told.environment.run(work)
    assert set(told.texts) == {"short"}
