"""An application: nothing in it knows of encryption."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError


@activity.defn
async def greet(name: str) -> str:
    """Greet somebody who has a name."""
    if not name.strip():
        raise ApplicationError(f"{name!r} is no name", non_retryable=True)
    return f"Hello, {name}"


@workflow.defn
class Greet:
    """Greets once."""

    @workflow.run
    async def run(self, name: str) -> str:
        """Return the greeting."""
        once = RetryPolicy(maximum_attempts=1)
        return await workflow.execute_activity(
            greet, name, start_to_close_timeout=timedelta(seconds=10), retry_policy=once
        )
