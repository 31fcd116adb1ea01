"""A worker polls, and user code runs, when the sealing key is at hand; what that code leaves is sealed with patience;
shutdown does not wait for a KMS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any

from nexusrpc.handler import StartOperationResultSync
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.worker import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
    ExecuteNexusOperationCancelInput,
    ExecuteNexusOperationStartInput,
    Interceptor,
    NexusOperationInboundInterceptor,
    Worker,
)

from envelope_codec._frames import text_of
from envelope_codec.errors import KmsUnavailable
from envelope_codec.keys import patience
from envelope_codec.keys.keyring import Keyring
from envelope_codec.keys.keyset import SealingContext
from envelope_codec.keys.stop import Stop, stopping
from envelope_codec.keys.waiter import waited
from envelope_codec.observe import logger
from envelope_codec.temporal.failure_fallback import tellable
from envelope_codec.temporal.system_payloads import SYSTEM_MARK
from envelope_codec.temporal.worker_client import WorkerClient

if TYPE_CHECKING:
    from nexusrpc.handler import StartOperationResultAsync


class Prewarm(Interceptor):
    """Gets the sealing key before user code runs in an activity or a Nexus operation's start: a result that can't be
    sealed costs a second run.

    Args:
        keyring: where the key comes from.
        namespace: the worker's.
        client: looks at the client that user code will get.
    """

    def __init__(self, keyring: Keyring, namespace: str, client: WorkerClient) -> None:
        self.keyring = keyring
        self.client = client
        self._namespace = namespace

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """See `Interceptor.intercept_activity`."""
        return _PrewarmActivity(next, self)

    def intercept_nexus_operation(self, next: NexusOperationInboundInterceptor) -> NexusOperationInboundInterceptor:
        """See `Interceptor.intercept_nexus_operation`."""
        return _PrewarmNexusOperation(next, self)

    async def ready(self, workflow_id: str | None = None) -> None:
        """Return when there is a key to seal with; raise as `Keyring.prewarm`."""
        scope = self.keyring.find_scope(SealingContext(self._namespace, workflow_id or ""))
        await self.keyring.prewarm(scope, timeout=self.keyring.limits.timeout)


class _PrewarmActivity(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, prewarm: Prewarm) -> None:
        super().__init__(next)
        self._prewarm = prewarm

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        """See `ActivityInboundInterceptor.init`."""
        super().init(_PatientHeartbeats(outbound))

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        """See `ActivityInboundInterceptor.execute_activity`."""
        try:
            await self._ready()
            running = [super().execute_activity(input)]
        finally:
            del input  # an error, the user's too, keeps this frame
        try:
            return await running.pop()
        except BaseException as error:
            told = tellable(error)
            if told is error:
                raise
        finally:
            patience.begin()  # in the task that seals the result or the failure
        try:
            raise told
        finally:
            del told  # or it and this frame would keep each other

    async def _ready(self) -> None:
        info = activity.info()
        self._prewarm.client.in_activity()
        await self._prewarm.ready(info.workflow_id)
        # Temporal does not wait: it has begun another attempt, which may be running.
        limits = [limit.total_seconds() for limit in (info.start_to_close_timeout, info.heartbeat_timeout) if limit]
        task = asyncio.current_task()
        if task is not None and limits and waited.get(task, 0.0) >= min(limits):
            raise KmsUnavailable("the attempt timed out while it waited for the KMS", operation="seal")


class _PatientHeartbeats(ActivityOutboundInterceptor):
    """The SDK seals a heartbeat in a task that it makes in this call: in a process pool's case, from a thread that
    knows nothing of the activity.
    """

    def __init__(self, next: ActivityOutboundInterceptor) -> None:
        super().__init__(next)
        self._stop = stopping.get()

    def heartbeat(self, *details: Any) -> None:
        """See `ActivityOutboundInterceptor.heartbeat`."""
        token = stopping.set(self._stop)
        try:
            with patience.after_user_code():
                super().heartbeat(*details)
        finally:
            details = ()  # an error keeps this frame
            stopping.reset(token)


class _PrewarmNexusOperation(NexusOperationInboundInterceptor):
    def __init__(self, next: NexusOperationInboundInterceptor, prewarm: Prewarm) -> None:
        super().__init__(next)
        self._prewarm = prewarm

    async def execute_nexus_operation_start(
        self, input: ExecuteNexusOperationStartInput
    ) -> StartOperationResultSync[Any] | StartOperationResultAsync:
        """See `NexusOperationInboundInterceptor.execute_nexus_operation_start`."""
        try:
            self._prewarm.client.in_nexus_operation()
            await self._prewarm.ready()
            running = [super().execute_nexus_operation_start(input)]
        finally:
            del input  # an error, the user's too, keeps this frame
        try:
            return _unmarked(await running.pop())
        finally:
            patience.begin()

    async def execute_nexus_operation_cancel(self, input: ExecuteNexusOperationCancelInput) -> None:
        """See `NexusOperationInboundInterceptor.execute_nexus_operation_cancel`."""
        self._prewarm.client.in_nexus_operation()
        try:
            await super().execute_nexus_operation_cancel(input)
        finally:
            patience.begin()


def _unmarked(
    result: StartOperationResultSync[Any] | StartOperationResultAsync,
) -> StartOperationResultSync[Any] | StartOperationResultAsync:
    """``result`` without the SDK's mark: it would send a ready-made payload that has it as it is."""
    value = result.value if isinstance(result, StartOperationResultSync) else None
    if not isinstance(value, RawValue) or SYSTEM_MARK not in value.payload.metadata:
        return result
    payload = Payload()
    payload.CopyFrom(value.payload)
    del payload.metadata[SYSTEM_MARK]
    return StartOperationResultSync(RawValue(payload))


async def run_until_stopped(worker: Worker, running: Awaitable[None]) -> None:
    """Await ``running``, the run of ``worker``. Once shutdown is asked for, nothing in it waits for a KMS for long."""
    stop = Stop()
    token = stopping.set(stop)
    try:
        run = asyncio.ensure_future(running)  # has a copy of this context, and gives it to every task of the worker
    finally:
        stopping.reset(token)
    asked = getattr(worker, "_shutdown_event", None)
    watch = asyncio.ensure_future(asked.wait()) if isinstance(asked, asyncio.Event) else None
    try:
        await asyncio.wait([run, watch] if watch else [run], return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        run.cancel()  # which begins the worker's shutdown
    finally:
        stop.set()
        if watch is not None:
            watch.cancel()
    await run


async def ready_or_ended(worker: Worker, prewarming: Coroutine[Any, Any, None]) -> bool:
    """Wait until a worker that has not begun to run may do so, or need not.

    Args:
        worker: has polled nothing yet.
        prewarming: gets the sealing key. Cancelled where it is not done in time.

    Returns:
        True if ``prewarming`` is done, False if the worker's shutdown came first. The worker has ended then.

    Raises:
        Whatever ``prewarming`` raises. The worker has ended then.
    """
    prewarmed = asyncio.ensure_future(prewarming)
    waiting: list[asyncio.Future[Any]] = [prewarmed]
    asked = getattr(worker, "_shutdown_event", None)
    if isinstance(asked, asyncio.Event):
        waiting.append(asyncio.ensure_future(asked.wait()))
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if prewarmed.done():
            prewarmed.result()
            return True
    except BaseException:
        await _end(worker)
        raise
    finally:
        for task in waiting:
            task.cancel()
    await _end(worker)
    return False


async def _end(worker: Worker) -> None:
    """End a worker that never ran.

    The SDK has no public way: its own shutdown waits for a run to end, ``async with worker`` would wait for ever, and
    no other worker could ever be made for the task queue with this client.
    """
    try:
        bridge = getattr(worker, "_bridge_worker", None)
        if bridge is not None:
            bridge.initiate_shutdown()
            kinds = ("_workflow_worker", "_activity_worker", "_nexus_worker")
            workers = [one for one in (getattr(worker, kind, None) for kind in kinds) if one is not None]
            # The core's end waits until every kind of poll has been told that there is nothing more.
            await asyncio.gather(*(one.drain_poll_queue() for one in workers))
            await bridge.finalize_shutdown()
    except Exception as error:
        logger.warning("a worker that never ran could not be shut down: %s", text_of(error))
    finally:
        ended = getattr(worker, "_shutdown_complete_event", None)
        if isinstance(ended, asyncio.Event):
            ended.set()
