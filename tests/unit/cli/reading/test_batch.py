"""Work on many things, some at once."""

from __future__ import annotations

import asyncio

import pytest

from envelope_codec.cli.reading.batch import AT_ONCE, run_all, run_each


async def test_each_thing_is_done_once_and_only_some_at_a_time() -> None:
    done: list[int] = []
    at_once = most = 0

    async def do(thing: int) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        done.append(thing)
        at_once -= 1

    await run_each(range(100), do)
    assert sorted(done) == list(range(100))
    assert most == AT_ONCE


async def test_the_first_error_ends_the_rest() -> None:
    cancelled: list[bool] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await run_all([wait(), fail(), wait()])
    assert cancelled == [True, True]
