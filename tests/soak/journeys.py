"""What the starter does with a workflow of each kind, from its start to its result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleSpec,
    ScheduleState,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.errors import EnvelopeError
from tests.soak.expected import ENTRIES, GROWN, LETTERS
from tests.soak.header import sent

TASK_QUEUE = "soak"
WEIGHTS = {
    "short": 44,
    "chain": 14,
    "local": 10,
    "mailbox": 6,
    "ledger": 4,
    "large": 6,
    "parent": 3,
    "rounds": 3,
    "failing": 4,
    "beats": 3,
    "memo": 2,
    "schedule": 1,
}
"""How many of a hundred workflows are of each kind."""

_ASK = 20.0
"""Seconds that one call may take. A server that was paused may have forgotten it."""

_T = TypeVar("_T")


class WrongAnswer(AssertionError):
    """A query, an update or a memo was not what it had to be. Its text does not say what it was."""


class Journey:
    """Starts workflows, and follows them. Each call is repeated until it comes through: an outage is no error.

    Attributes:
        repeated: how many calls had to be repeated.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.repeated = 0

    async def go(self, kind: str, id: str, text: str) -> str:
        """Start a workflow, do what belongs to its kind, and return its result, or what its failure says."""
        try:
            return await getattr(self, f"_{kind}")(id, text)  # type: ignore[no-any-return]
        except WorkflowFailureError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError) and cause.details:
                return f"{cause.message} {cause.details[0]}"
            raise

    async def _short(self, id: str, text: str) -> str:
        return await self._result(await self._start("Short", id, text))

    async def _chain(self, id: str, text: str) -> str:
        handle = await self._start("Chain", id, text)
        result = await self._result(handle)
        if int(id.rpartition("-")[2]) % 5 == 0:  # its worker may have to replay it for the answer
            answer = await self._again(lambda: handle.query("tell", text, result_type=str))
            _check(answer == f"{text}: {result}", "a query")
        return result

    async def _local(self, id: str, text: str) -> str:
        return await self._result(await self._start("Local", id, text))

    async def _mailbox(self, id: str, text: str) -> str:
        handle = await self._start("Mailbox", id, LETTERS)
        for number in range(LETTERS):
            await self._again(partial(handle.signal, "post", args=[number, f"{text}/{number}"]))
            if number == 1:
                letters = await self._again(lambda: handle.query("letters", text, result_type=list[str]))
                _check(set(letters) <= {f"{text}{text}/{one}" for one in range(LETTERS)}, "a query")
        return await self._result(handle)

    async def _ledger(self, id: str, text: str) -> str:
        handle = await self._start("Ledger", id, ENTRIES)
        try:
            await self._again(lambda: handle.execute_update("enter", f"{text}.refused", id="refused"))
            raise WrongAnswer("an update that was to be refused")
        except WorkflowUpdateFailedError as error:
            _check(isinstance(error.cause, ApplicationError) and text in error.cause.message, "a refusal of an update")
        for number in range(ENTRIES):
            entry: str = await self._again(
                partial(handle.execute_update, "enter", f"{text}/{number}", id=str(number), result_type=str)
            )
            _check(entry == f"{text}/{number}.entered", "an update")
        return await self._result(handle)

    async def _large(self, id: str, text: str) -> str:
        return await self._result(await self._start("Large", id, text, GROWN))

    async def _parent(self, id: str, text: str) -> str:
        return await self._result(await self._start("Parent", id, text))

    async def _rounds(self, id: str, text: str) -> str:
        return await self._result(await self._start("Rounds", id, text, 0))

    async def _failing(self, id: str, text: str) -> str:
        return await self._result(await self._start("Failing", id, text))

    async def _beats(self, id: str, text: str) -> str:
        return await self._result(await self._start("Beats", id, text))

    async def _memo(self, id: str, text: str) -> str:
        sent.set(text)
        handle = await self._start("Memo", id, memo={"note": text})
        result = await self._result(handle)

        async def memo() -> dict[str, Any]:
            return dict(await (await handle.describe()).memo())

        _check(await self._again(memo) == {"note": f"{text}.changed", "more": text}, "a memo")
        return result

    async def _schedule(self, id: str, text: str) -> str:
        action = ScheduleActionStartWorkflow("Chain", text, id=id, task_queue=TASK_QUEUE, memo={"note": text})
        schedule = Schedule(action, ScheduleSpec(), state=ScheduleState(note="soak"))

        async def create() -> None:
            with suppress(ScheduleAlreadyRunningError):  # an earlier call came through
                await self._client.create_schedule(id, schedule, trigger_immediately=True)

        await self._again(create)
        handle = self._client.get_schedule_handle(id)

        async def begun() -> str | None:
            for one in (await handle.describe()).info.recent_actions:
                assert isinstance(one.action, ScheduleActionExecutionStartWorkflow)
                return one.action.workflow_id
            return None

        while (started := await self._again(begun)) is None:  # noqa: ASYNC110 - it is the server that is asked
            await asyncio.sleep(0.5)
        result = await self._result(self._client.get_workflow_handle(started, result_type=str))
        await self._again(handle.delete, gone_is_fine=True)
        return result

    async def _start(
        self, workflow: str, id: str, *arguments: Any, memo: dict[str, Any] | None = None
    ) -> WorkflowHandle[Any, str]:
        async def start() -> None:
            with suppress(WorkflowAlreadyStartedError):  # an earlier call came through
                await self._client.start_workflow(
                    workflow,
                    args=arguments,
                    id=id,
                    task_queue=TASK_QUEUE,
                    memo=memo,
                    rpc_timeout=timedelta(seconds=_ASK),
                )

        await self._again(start)
        return self._client.get_workflow_handle(id, result_type=str)

    async def _result(self, handle: WorkflowHandle[Any, str]) -> str:
        return await self._again(handle.result, patience=90.0)

    async def _again(
        self, call: Callable[[], Awaitable[_T]], *, patience: float = _ASK, gone_is_fine: bool = False
    ) -> _T:
        """Call until it comes through. What refuses to come through shows when the soak waits for its end."""
        while True:
            begun = time.monotonic()
            try:
                return await asyncio.wait_for(call(), patience)
            except RPCError as error:
                if error.status in (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.PERMISSION_DENIED):
                    raise
                if gone_is_fine and error.status == RPCStatusCode.NOT_FOUND:
                    return None  # type: ignore[return-value]
            except (
                EnvelopeError,
                asyncio.TimeoutError,
                WorkflowQueryFailedError,
                WorkflowQueryRejectedError,
                WorkflowUpdateRPCTimeoutOrCancelledError,
            ):
                pass
            self.repeated += 1
            await asyncio.sleep(max(0.3, 1.0 - (time.monotonic() - begun)))


def _check(right: bool, what: str) -> None:
    if not right:
        raise WrongAnswer(what)
