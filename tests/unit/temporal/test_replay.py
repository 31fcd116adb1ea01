"""A replay reports the codec's error where a history can't be opened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import WorkflowReplayResult

from envelope_codec import ContextMismatch, EnvelopeCodec, KeyDenied
from envelope_codec.temporal.replay import explain_failures
from envelope_codec.temporal.replay_errors import note_error
from envelope_codec.testing import FakeKms

THEIRS = RuntimeError("what the SDK makes of it")
Results = AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]]


def result(failure: Exception | None) -> WorkflowReplayResult:
    return WorkflowReplayResult(history=cast(WorkflowHistory, None), replay_failure=failure)


@asynccontextmanager
async def replay(*histories: tuple[list[Any], Exception | None]) -> Any:
    """Stands for the SDK's: each history meets errors in a task of the replay, and has a result."""

    async def work() -> None:
        for errors, failure in histories:
            for error in errors:
                note_error(error)
            results.put_nowait(result(failure))
            await read.wait()
            read.clear()
        results.put_nowait(None)

    async def iterate() -> AsyncIterator[WorkflowReplayResult]:
        while (each := await results.get()) is not None:
            yield each
            read.set()

    results: asyncio.Queue[Any] = asyncio.Queue()
    read = asyncio.Event()
    task = asyncio.ensure_future(work())
    yield iterate()
    await task


async def failures(replay: Results) -> list[Any]:
    async with explain_failures(replay) as results:
        return [each.replay_failure async for each in results]


async def test_the_first_error_of_each_history_is_reported() -> None:
    denied, other = KeyDenied("the key is disabled"), ContextMismatch("of another namespace")
    found = await failures(replay(([denied, other], THEIRS), ([other], THEIRS)))
    assert [(type(each), str(each)) for each in found] == [
        (KeyDenied, "the key is disabled"),
        (ContextMismatch, "of another namespace"),
    ]
    assert found[0] is not denied, "a copy, without frames"


async def test_a_failure_that_the_codec_did_not_cause_stays() -> None:
    assert await failures(replay(([], THEIRS), ([], None))) == [THEIRS, None]


async def test_an_error_of_a_history_that_was_replayed_counts_for_no_other() -> None:
    """As where a query's codec fails, and the workflow goes on."""
    assert await failures(replay(([KeyDenied("disabled")], None), ([], THEIRS))) == [None, THEIRS]


async def test_without_a_replay_nothing_is_kept() -> None:
    kms = FakeKms()
    codec = EnvelopeCodec(kms)
    sealed = await codec.encode([])
    note_error(KeyDenied("disabled"))
    assert await codec.decode(sealed) == []
    codec.close()


async def test_a_replay_that_does_not_begin_raises_its_own_error() -> None:
    @asynccontextmanager
    async def broken() -> Any:
        raise THEIRS
        yield

    with pytest.raises(RuntimeError, match="what the SDK makes of it"):
        await failures(broken())
