"""Activities that leave a line each time their code runs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from temporalio import activity
from temporalio.exceptions import ApplicationError

from tests.soak.header import received
from tests.soak.journal import Journal
from tests.soak.judge import LOCAL, PLANNED
from tests.soak.workflows import LOCAL_LIMIT, PLANNED_TYPE

EXECUTIONS = "executions.jsonl"


class Activities:
    """The activities of one worker.

    Args:
        folder: with the file that has the lines.
        worker: the name of the process.
        pid: of it.
        twice: run each tenth code twice, so that a check has something to find.
    """

    def __init__(self, folder: Path, worker: str, pid: int, twice: bool = False) -> None:
        self._journal = Journal(folder / EXECUTIONS)
        self._worker = worker
        self._pid = pid
        self._twice = twice
        self._runs = 0

    @activity.defn
    async def stamp(self, text: str, mark: str) -> str:
        with self._running():
            return f"{text}.{mark}"

    @activity.defn
    def stamp_in_thread(self, text: str, mark: str) -> str:
        with self._running():
            return f"{text}.{mark}"

    @activity.defn
    async def grow(self, text: str, times: int) -> str:
        """Return something that goes to the store."""
        with self._running(stored=True):
            return text * times

    @activity.defn
    async def shrink(self, text: str, length: int) -> str:
        with self._running(stored=True):
            return text[:length]

    @activity.defn
    async def read_header(self) -> str:
        with self._running():
            return received()

    @activity.defn
    async def fail(self, text: str) -> str:
        """Fail for good, with details."""
        with self._running():
            raise ApplicationError("planned: " + text, text + ".detail", type=PLANNED_TYPE, non_retryable=True)

    @activity.defn
    async def beat(self, text: str) -> str:
        """Fail at the first attempt, and go on from where that came to."""
        with self._running():
            if activity.info().heartbeat_details:
                return f"{activity.info().heartbeat_details[0]}.resumed"
            activity.heartbeat(f"{text}.beaten")
            raise ApplicationError("planned: " + text, type=PLANNED_TYPE)

    @contextmanager
    def _running(self, stored: bool = False) -> Iterator[None]:
        info = activity.info()
        limit = info.start_to_close_timeout.total_seconds() if info.start_to_close_timeout else 0.0
        self._runs += 1
        for _ in range(2 if self._twice and self._runs % 10 == 0 else 1):
            run = uuid.uuid4().hex
            self._journal.write(
                run=run,
                workflow_id=info.workflow_id,
                run_id=info.workflow_run_id,
                activity_id=f"{LOCAL if info.is_local else ''}{info.activity_id}",
                attempt=info.attempt,
                worker=self._worker,
                pid=self._pid,
                limit=LOCAL_LIMIT if info.is_local else limit,
                stored=stored,
                real=time.time(),
            )
        try:
            yield
        except ApplicationError:
            self._journal.write(run=run, ending=PLANNED)
            raise
        except BaseException:
            self._journal.write(run=run, ending="raised")
            raise
        self._journal.write(run=run, ending="returned")
