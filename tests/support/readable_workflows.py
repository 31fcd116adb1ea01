"""Workflows whose input, result, activity, query and failure a person may want to read."""

from __future__ import annotations

from datetime import timedelta
from typing import NoReturn

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError

INPUT = "marigold-input"
BOOKED = "marigold-booked"
RESULT = "marigold-result"
MESSAGE = "marigold-refused"
ANSWER = "marigold-answer"
DETAIL = "marigold-detail"
LARGE = "marigold-large " * 200


@activity.defn
async def book(entry: str) -> str:
    """Books an entry."""
    return BOOKED


@workflow.defn
class Ledger:
    """Books what it is given."""

    @workflow.run
    async def run(self, entry: str) -> str:
        await workflow.execute_activity(book, entry, start_to_close_timeout=timedelta(seconds=100))
        return RESULT

    @workflow.query
    def told(self, question: str) -> str:
        return f"{ANSWER} to {question}"


@workflow.defn
class Overdrawn:
    """Fails, and says why."""

    @workflow.run
    async def run(self, entry: str) -> NoReturn:
        refuse_marigold(entry)


def refuse_marigold(entry: str) -> NoReturn:
    """A name that stack traces show."""
    raise ApplicationError(MESSAGE, DETAIL, non_retryable=True)
