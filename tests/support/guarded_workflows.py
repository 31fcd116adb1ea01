"""Workflows for a namespace in which everything must be encrypted."""

from __future__ import annotations

from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, CancelledError

from tests.support.small_workflows import AGAIN, PATIENT, Listen, Work


@workflow.defn
class Exempt:
    """Makes the server and the SDK's core write everything that they write in clear."""

    @workflow.run
    async def run(self, text: str, other: str) -> str:
        assert workflow.patched("a patch")
        echoed = await workflow.execute_local_activity_method(
            Work.echo, text, start_to_close_timeout=PATIENT, retry_policy=AGAIN
        )
        await workflow.signal_with_start_workflow(
            Listen.run,
            id=other,
            task_queue=workflow.info().task_queue,
            signal=Listen.say,
            signal_args=[echoed],
        )
        return echoed


@workflow.defn
class CancelsEarly:
    """Cancels an activity that no worker has begun, and waits for the server's word."""

    @workflow.run
    async def run(self) -> list[str]:
        waiting = workflow.start_activity(
            "nobody's",
            task_queue="nobody's",
            schedule_to_close_timeout=PATIENT,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        await workflow.sleep(0.01)  # the command to begin it is sent
        waiting.cancel()
        try:
            await waiting
        except ActivityError as error:
            cause = error.cause
            return [str(detail) for detail in cause.details] if isinstance(cause, CancelledError) else [str(cause)]
        return []


@workflow.defn
class Guarded:
    """Takes anything from anyone, and says what came of it: type and value."""

    def __init__(self) -> None:
        self._heard: list[str] = []
        self._enough = False

    @workflow.run
    async def run(self, text: str) -> list[str]:
        self._hear(text)
        await workflow.wait_condition(lambda: self._enough)
        return self._heard

    @workflow.signal
    def say(self, text: str) -> None:
        self._hear(text)

    @workflow.signal
    def leave(self) -> None:
        self._enough = True

    @workflow.update
    def change(self, text: str) -> None:
        self._hear(text)

    @workflow.query
    def heard(self, question: str) -> list[str]:
        return [*self._heard, _described(question)]

    def _hear(self, value: Any) -> None:
        self._heard.append(_described(value))


def _described(value: Any) -> str:
    return f"{type(value).__name__} {value}"
