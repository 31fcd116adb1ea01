"""What a replay says of a history that can't be opened: that, and not the SDK's dump of a failure that it caused."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from temporalio.worker import WorkflowReplayResult

from envelope_codec.errors import EnvelopeError
from envelope_codec.temporal.codec import unopened


@asynccontextmanager
async def explained(
    replay: AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]],
) -> AsyncIterator[AsyncIterator[WorkflowReplayResult]]:
    """``replay``, whose failures are the codec's errors where those are the reason."""
    errors: list[EnvelopeError] = []
    async with AsyncExitStack() as stack:
        token = unopened.set(errors)
        try:
            results = await stack.enter_async_context(replay)  # whose tasks have a copy of this context
        finally:
            unopened.reset(token)
        yield _explained(results, errors)


async def _explained(
    results: AsyncIterator[WorkflowReplayResult], errors: list[EnvelopeError]
) -> AsyncIterator[WorkflowReplayResult]:
    async for result in results:
        if result.replay_failure is not None and errors:
            result = dataclasses.replace(result, replay_failure=errors[0])
        errors.clear()
        yield result
