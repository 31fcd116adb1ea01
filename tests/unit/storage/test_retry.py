"""How long a call is tried again, and that a worker's shutdown ends it soon."""

from __future__ import annotations

import asyncio

import pytest

from envelope_codec.keys.stop import Stop, stopping
from envelope_codec.storage.retry import Retry


async def test_a_pause_beyond_the_deadline_is_none() -> None:
    retry = Retry(0.0)
    assert not await asyncio.wait_for(retry.pause(), 30)
    retry.end()


async def test_pauses_grow() -> None:
    retry = Retry(1_000.0)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert await retry.pause()
    assert loop.time() - begun >= 0.05
    assert retry._failures == 1
    retry.end()


async def test_waiting_ends_with_the_task_or_the_deadline() -> None:
    retry = Retry(1_000.0)
    done = asyncio.ensure_future(asyncio.sleep(0))
    await asyncio.wait_for(retry.wait_for(done), 30)
    assert done.done()
    retry.end()
    late = Retry(0.0)
    never: asyncio.Task[bool] = asyncio.create_task(asyncio.Event().wait())
    await asyncio.wait_for(late.wait_for(never), 30)
    assert not never.done()
    never.cancel()
    late.end()


async def test_a_shutdown_ends_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envelope_codec.storage.retry._AT_SHUTDOWN", 0.0)
    stop = Stop()
    token = stopping.set(stop)
    retry = Retry(1_000.0)
    stopping.reset(token)
    never: asyncio.Task[bool] = asyncio.create_task(asyncio.Event().wait())
    waiting = asyncio.create_task(retry.wait_for(never))
    await asyncio.sleep(0)
    stop.set()
    await asyncio.wait_for(waiting, 30)
    assert not await retry.pause()
    never.cancel()
    retry.end()
    assert not stop._listeners
