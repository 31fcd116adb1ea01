"""The course of a watch: ask, judge, show, and wait; until somebody ends it, or for so many times."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone

from envelope_codec.cli.doctor.diagnosis import Diagnosis, Request, diagnose
from envelope_codec.cli.doctor.finding import Code, problem
from envelope_codec.cli.doctor.watch.endpoint import Endpoint
from envelope_codec.cli.doctor.watch.judgement import judge
from envelope_codec.cli.doctor.watch.overview import overview_of
from envelope_codec.cli.doctor.watch.screen import Screen, open_screen
from envelope_codec.cli.doctor.watch.view import Examination, View
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.logs import ProviderWords, quiet_logs

EXAMINE_EVERY = 60.0
"""Seconds from the end of one examination to the beginning of the next: it asks the KMS, and reads histories."""

_LEASE = 300.0  # the default of the setting


@dataclass(frozen=True)
class Plan:
    """How a watch goes.

    Attributes:
        every: seconds from one look to the next.
        count: how many looks; None for no end.
        timeout: seconds that an examination may take.
        as_json: whether programs read it.
    """

    every: float
    count: int | None
    timeout: float
    as_json: bool


def run_watch(plan: Plan, endpoints: Sequence[Endpoint], request: Request | None) -> int:
    """Watch until somebody interrupts it, or for ``plan.count`` looks. Return the exit status.

    An interrupt is how a watch ends, so the status is 0 then.
    """
    with quiet_logs() as words, open_screen(as_json=plan.as_json) as screen:
        try:
            return asyncio.run(_watch(plan, endpoints, request, screen, words))
        except KeyboardInterrupt:
            return 0


async def _watch(
    plan: Plan, endpoints: Sequence[Endpoint], request: Request | None, screen: Screen, words: ProviderWords
) -> int:
    examiner = _Examiner(request, plan.timeout, words) if request is not None else None
    lease = request.configuration.config.lease if request is not None else _LEASE
    looks = 0
    while True:
        begun = time.monotonic()
        looks += 1
        if examiner is not None:
            examiner.begin_if_due()
        await asyncio.gather(*(endpoint.tell() for endpoint in endpoints))
        if examiner is not None and looks == plan.count:
            await examiner.wait()  # what it finds counts for the exit status
        overview = overview_of([change for one in endpoints if (change := one.change)], lease)
        judgements = judge(overview, endpoints)
        last = examiner.last if examiner is not None else None
        view = View(datetime.now(timezone.utc), endpoints, overview, judgements, request, last)
        screen.show(view)
        if looks == plan.count:
            return view.status
        await asyncio.sleep(max(0.0, begun + plan.every - time.monotonic()))


class _Examiner:
    """Examines at a slow rhythm what the doctor examines, while views go on."""

    def __init__(self, request: Request, timeout: float, words: ProviderWords) -> None:
        self._request = request
        self._timeout = timeout
        self._words = words
        self._task: asyncio.Task[None] | None = None
        self._due = 0.0
        self.last: Examination | None = None

    def begin_if_due(self) -> None:
        if (self._task is None or self._task.done()) and time.monotonic() >= self._due:
            self._task = asyncio.create_task(self._examine())

    async def wait(self) -> None:
        if self._task is not None:
            with suppress(asyncio.CancelledError):
                await self._task

    async def _examine(self) -> None:
        try:
            diagnosis = await diagnose(self._request, Deadline(self._timeout), Calls(), self._words)
        except Exception as error:  # the view goes on, and says so
            text = f"the examination failed: {type(error).__name__}"
            diagnosis = Diagnosis(findings=[problem(Code.no_answer_in_time, "doctor", text)])
        self.last = Examination(diagnosis, datetime.now(timezone.utc))
        self._due = time.monotonic() + EXAMINE_EVERY
