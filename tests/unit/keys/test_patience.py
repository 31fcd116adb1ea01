"""Patience: who has it, and the time between two tries."""

from __future__ import annotations

import asyncio

import pytest

from envelope_codec.keys import patience


@pytest.mark.parametrize(
    ("ttl", "remaining", "jitter", "seconds"),
    [
        (5.0, 30.0, 0.0, 5.0),
        (5.0, 30.0, 1.0, 6.25),
        (60.0, 30.0, 0.0, 15.0),
        (0.0, 30.0, 0.0, 0.1),
    ],
)
def test_the_pause_between_two_tries(ttl: float, remaining: float, jitter: float, seconds: float) -> None:
    assert patience.pause(ttl, remaining, jitter) == seconds


async def test_who_has_patience() -> None:
    async def ask() -> bool:
        return patience.is_left()

    assert not patience.is_left()
    with patience.after_user_code():
        inside = asyncio.ensure_future(ask())
    assert await inside
    assert not await asyncio.ensure_future(ask())


async def test_a_task_that_has_waited_in_vain_has_no_more_of_it_and_others_have() -> None:
    async def spend() -> tuple[bool, bool]:
        before = patience.is_left()
        patience.spend()
        return before, patience.is_left()

    async def begin() -> bool:
        patience.begin()
        return patience.is_left()

    with patience.after_user_code():
        assert await asyncio.ensure_future(spend()) == (True, False)
        assert patience.is_left()
    assert await asyncio.ensure_future(begin())
    assert not patience.is_left()


async def test_where_no_task_runs_nothing_is_spent() -> None:
    async def ask() -> bool:
        return patience.is_left()

    done = asyncio.Event()

    def spend() -> None:
        patience.spend()
        done.set()

    asyncio.get_running_loop().call_soon(spend)
    await done.wait()
    with patience.after_user_code():
        assert await asyncio.ensure_future(ask())
