"""Turns are given in rotation, and neither a caller nor a namespace gets them all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from envelope_codec.server.web.turns import Turns


async def take_many(turns: Turns, caller: str, namespace: str, count: int) -> list[asyncio.Task[Any]]:
    """So many who want a turn at once, after each had its chance to begin."""
    tasks = [asyncio.create_task(turns.take(caller, namespace)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_a_crowd_keeps_nobody_from_a_turn() -> None:
    turns = Turns(32, 16)
    crowd = await take_many(turns, "mallory", "a", 1_000)
    assert (turns.taken, turns.waiting) == (16, 984)
    for namespace in ("a", "b"):
        (await asyncio.wait_for(turns.take("ada", namespace), 30))()
    for task in crowd:
        task.cancel()
    await asyncio.wait(crowd)
    assert turns.waiting == 0


async def test_a_namespace_whose_kms_hangs_does_not_take_them_all() -> None:
    turns = Turns(32, 16)
    for caller in range(10):
        await take_many(turns, f"caller-{caller}", "hanging", 16)
    assert turns.taken < 32
    (await asyncio.wait_for(turns.take("ada", "other"), 30))()


async def test_turns_are_given_in_rotation() -> None:
    turns = Turns(1, 1)
    end = await turns.take("first", "a")
    order: list[str] = []

    async def go(caller: str) -> None:
        ended = await turns.take(caller, "a")
        order.append(caller)
        ended()

    tasks = [asyncio.create_task(go(caller)) for caller in ["m", "m", "m", "ada", "bob"]]
    await asyncio.sleep(0)
    end()
    await asyncio.gather(*tasks)
    assert order == ["m", "ada", "bob", "m", "m"]
    assert (turns.taken, turns.waiting) == (0, 0)


async def test_a_turn_that_nobody_wants_any_more_is_passed_on() -> None:
    seen: list[int] = []
    turns = Turns(1, 1, seen.append)
    end = await turns.take("first", "a")
    [gone, next_] = [*await take_many(turns, "gone", "a", 1), *await take_many(turns, "next", "a", 1)]
    gone.cancel()
    end()  # both in one moment: it is given, and not wanted
    with pytest.raises(asyncio.CancelledError):
        await gone
    (await asyncio.wait_for(next_, 30))()
    [early] = await take_many(turns, "early", "a", 1)
    (await early)()
    assert (turns.taken, turns.waiting, sum(seen)) == (0, 0, 0)
