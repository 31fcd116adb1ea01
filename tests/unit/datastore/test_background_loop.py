"""Work in an event loop of its own, which goes on whatever happens to those who wait for it."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from envelope_codec.datastore.background_loop import BackgroundLoop


class Gate:
    """Work that waits at a gate, in whatever thread, and says where it has got to."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended = threading.Event()
        self._opened: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def work(self) -> str:
        self._loop, self._opened = asyncio.get_running_loop(), asyncio.Event()
        self.begun.set()
        await self._opened.wait()
        self.ended.set()
        return "done"

    def open(self) -> None:
        assert self._loop is not None
        assert self._opened is not None
        self._loop.call_soon_threadsafe(self._opened.set)


async def stubborn() -> None:
    """As a library that has lost a lock."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "envelope-codec-apart"]


async def test_who_waits_may_be_cancelled_and_the_work_goes_on() -> None:
    background, gate = BackgroundLoop(), Gate()
    waiting = asyncio.ensure_future(background.run(gate.work()))
    assert await asyncio.to_thread(gate.begun.wait, 30)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    gate.open()
    assert await asyncio.to_thread(gate.ended.wait, 30)
    background.close()


async def test_gives_results_and_errors() -> None:
    background = BackgroundLoop()
    assert await background.run(asyncio.sleep(0, "a result")) == "a result"

    async def fail() -> None:
        raise LookupError("an error")

    with pytest.raises(LookupError, match="an error"):
        await background.run(fail())
    background.close()


@pytest.mark.filterwarnings("error")
def test_an_event_loop_ends_at_once_and_quietly_before_the_work(caplog: pytest.LogCaptureFixture) -> None:
    before = threads()
    background, gate = BackgroundLoop(), Gate()

    async def begin() -> None:
        waiting = [asyncio.ensure_future(background.run(work)) for work in (stubborn(), gate.work())]
        assert await asyncio.to_thread(gate.begun.wait, 30)
        assert not any(one.done() for one in waiting)

    asyncio.run(begin())
    gate.open()
    assert gate.ended.wait(30)
    asyncio.run(_closed(background, *before))
    assert caplog.records == []


async def test_closing_ends_the_work_and_the_thread() -> None:
    before = threads()
    background, gate = BackgroundLoop(), Gate()
    waiting = asyncio.ensure_future(background.run(gate.work()))
    assert await asyncio.to_thread(gate.begun.wait, 30)
    await _closed(background, *before)
    with pytest.raises(ConnectionError):
        await waiting
    with pytest.raises(ConnectionError):
        await background.run(asyncio.sleep(0))
    background.close()


async def test_work_that_can_not_be_cancelled_does_not_keep_the_thread() -> None:
    before = threads()
    background = BackgroundLoop()
    waiting = asyncio.ensure_future(background.run(stubborn()))
    assert await background.run(asyncio.sleep(0, True))
    await _closed(background, *before)
    waiting.cancel()


@pytest.mark.slow
async def test_a_thread_that_nobody_has_any_more_ends() -> None:
    before = threads()
    await BackgroundLoop().run(asyncio.sleep(0))
    gc.collect()
    await _none_but(*before)


async def _closed(background: BackgroundLoop, *others: threading.Thread) -> None:
    assert set(threads()) - set(others)
    background.close()
    await _none_but(*others)


async def _none_but(*others: threading.Thread) -> None:
    for thread in set(threads()) - set(others):
        await asyncio.to_thread(thread.join, 30)
        assert not thread.is_alive()


async def test_what_was_closed_before_it_was_used_stays_closed() -> None:
    before = threads()
    background = BackgroundLoop()
    background.close()
    with pytest.raises(ConnectionError):
        await background.run(asyncio.sleep(0))
    assert not set(threads()) - set(before)
