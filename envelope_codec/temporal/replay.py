"""What a replay reports where a history can't be opened: the codec's error, not the failure that it leads to."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from temporalio.worker import WorkflowReplayResult

from envelope_codec.errors import EnvelopeError
from envelope_codec.temporal.replay_errors import collect_errors


@asynccontextmanager
async def explain_failures(
    replay: AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]],
) -> AsyncIterator[AsyncIterator[WorkflowReplayResult]]:
    """Run ``replay`` with results whose failure is the codec's error, where the codec could not open the history."""
    async with AsyncExitStack() as stack:
        with collect_errors() as errors:
            results = await stack.enter_async_context(replay)  # its tasks have a copy of this context
        yield _explain(results, errors)


async def _explain(
    results: AsyncIterator[WorkflowReplayResult], errors: list[EnvelopeError]
) -> AsyncIterator[WorkflowReplayResult]:
    async for result in results:
        if result.replay_failure is not None and errors:
            result = dataclasses.replace(result, replay_failure=errors[0])
        errors.clear()
        yield result
