"""Work on many things, some of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

_T = TypeVar("_T")

AT_ONCE = 8
"""How many things are worked on at once."""


async def run_each(things: Sequence[_T], do: Callable[[_T], Awaitable[None]]) -> None:
    """Do it with each of ``things``, `AT_ONCE` at a time. The first error ends it."""
    waiting = iter(things)

    async def work() -> None:
        for thing in waiting:
            await do(thing)

    await run_all([work() for _ in range(AT_ONCE)])


async def run_all(work: Sequence[Awaitable[Any]]) -> None:
    """Do all of ``work`` at once. The first error cancels the rest, waits for it, and is raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
