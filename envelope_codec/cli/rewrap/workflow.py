"""The workflow of a distributed rewrap: slice after slice of the rows, some of them at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from envelope_codec.cli.distributed.served import check_version
from envelope_codec.cli.rewrap.slice import Done
from envelope_codec.cli.rewrap.work import Request, SliceWork

RUN = 500
"""How many slices one run of the workflow works on at most, before it continues as new."""

_LONGEST = timedelta(hours=24)
_RETRIES = RetryPolicy(maximum_interval=timedelta(minutes=1), maximum_attempts=30)


@dataclass
class Position:
    """How far a rewrap has come.

    Attributes:
        begun: how many slices have been begun.
        done: how the rows of those that are done ended.
    """

    begun: int = 0
    done: Done = field(default_factory=Done)


@dataclass(frozen=True)
class Status:
    """How far a rewrap has come: how many rows are done."""

    request: Request
    rows: int


@workflow.defn(name="envelope-codec.rewrap")
class RewrapWorkflow:
    """The workflow."""

    @workflow.init
    def __init__(self, request: Request, position: Position) -> None:
        self._request = request
        self._position = position

    @workflow.run
    async def run(self, request: Request, position: Position) -> Done:
        """Rewrap from ``position`` on."""
        check_version(request.version)
        last = min(request.slices, position.begun + RUN)

        async def work() -> None:
            while position.begun < last and not position.done.untried:
                number, position.begun = position.begun, position.begun + 1
                position.done.add((await self._follow(number)).counts())

        await asyncio.gather(*(work() for _ in range(request.at_once)))
        if position.begun < request.slices and not position.done.untried:
            workflow.continue_as_new(args=[request, position])
        return position.done

    @workflow.query
    def status(self) -> Status:
        """Say how far it has come."""
        return Status(self._request, self._position.done.rows)

    async def _follow(self, number: int) -> Done:
        done: Done = await workflow.execute_activity(
            "envelope-codec.rewrap.slice",
            SliceWork(self._request, number),
            result_type=Done,
            start_to_close_timeout=_LONGEST,
            heartbeat_timeout=timedelta(seconds=self._request.takeover),
            retry_policy=_RETRIES,
        )
        return done
