"""The key that seals a result, fetched before user code runs in an activity or a Nexus operation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from nexusrpc.handler import StartOperationResultSync
from temporalio import activity, nexus
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
)

from envelope_codec.errors import KmsUnavailable
from envelope_codec.keys import patience
from envelope_codec.keys.keyring import Keyring
from envelope_codec.keys.keyset import SealingContext
from envelope_codec.keys.stop import stopping
from envelope_codec.keys.waiter import waited
from envelope_codec.temporal.failure_fallback import replace_unruly
from envelope_codec.temporal.system_payloads import SYSTEM_MARK
from envelope_codec.temporal.worker_client import WorkerClient

if TYPE_CHECKING:
    from nexusrpc.handler import StartOperationResultAsync


class Prewarm(Interceptor):
    """Gets the sealing key before user code runs in an activity or in the start of a Nexus operation.

    A result that can't be sealed would cost a second run. So what user code leaves is also sealed with patience: where
    the KMS refuses, the codec waits and asks again.

    Args:
        keyring: where the key comes from.
        namespace: the worker's.
        client: checks the client that user code will get.
    """

    def __init__(self, keyring: Keyring, namespace: str, client: WorkerClient) -> None:
        self.keyring = keyring
        self.client = client
        self._namespace = namespace

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Put the wait for a key before each activity."""
        return _PrewarmActivity(next, self)

    def intercept_nexus_operation(self, next: NexusOperationInboundInterceptor) -> NexusOperationInboundInterceptor:
        """Put the wait for a key before each start of a Nexus operation."""
        return _PrewarmNexusOperation(next, self)

    async def prepare(self, *names: str) -> None:
        """Return when there is a key to seal with. Raises what `Keyring.prewarm` raises.

        Args:
            names: what `SealingContext` has beside the namespace, in the same order.
        """
        scope = self.keyring.find_scope(SealingContext(self._namespace, *names))
        await self.keyring.prewarm(scope, timeout=self.keyring.limits.timeout)


class _PrewarmActivity(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, prewarm: Prewarm) -> None:
        super().__init__(next)
        self._prewarm = prewarm

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        """Put the patience of heartbeats before ``outbound``."""
        super().init(_PatientHeartbeats(outbound))

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        """Wait for a key, then run the activity. An error that the SDK can't handle safely is replaced."""
        try:
            await self._prepare()
            running = [super().execute_activity(input)]
        finally:
            del input  # an error, the user's too, keeps this frame
        try:
            return await running.pop()
        except BaseException as error:
            raised = replace_unruly(error)
            if raised is error:
                raise
        finally:
            patience.begin()  # in the task that seals the result or the failure
        try:
            raise raised
        finally:
            del raised  # or the error and this frame would keep each other

    async def _prepare(self) -> None:
        info = activity.info()
        self._prewarm.client.check_in_activity()
        await self._prewarm.prepare(info.workflow_id or "")
        # Temporal does not wait: it has begun another attempt, which may be running.
        limits = [limit.total_seconds() for limit in (info.start_to_close_timeout, info.heartbeat_timeout) if limit]
        task = asyncio.current_task()
        if task is not None and limits and waited.get(task, 0.0) >= min(limits):
            raise KmsUnavailable("the attempt timed out while it waited for the KMS", operation="seal")


class _PatientHeartbeats(ActivityOutboundInterceptor):
    """Lets heartbeats be sealed with patience, but not past the worker's shutdown.

    The SDK seals a heartbeat in a task that it makes in this call. With a process pool, the call comes from a thread
    that knows nothing of the activity. So the signal of the shutdown is kept from the beginning.
    """

    def __init__(self, next: ActivityOutboundInterceptor) -> None:
        super().__init__(next)
        self._stop = stopping.get()

    def heartbeat(self, *details: Any) -> None:
        """Send the heartbeat, with patience."""
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
        """Wait for a key, then start the operation. A ready-made result loses the SDK's mark, so that it is sealed."""
        try:
            self._prewarm.client.check_in_nexus_operation()
            await self._prewarm.prepare(*self._names(input))
            running = [super().execute_nexus_operation_start(input)]
        finally:
            del input  # an error, the user's too, keeps this frame
        try:
            return _unmark_result(await running.pop())
        finally:
            patience.begin()

    def _names(self, input: ExecuteNexusOperationStartInput) -> tuple[str, ...]:
        """Return what only a resolver asks for: the names in the context in which the result will be sealed."""
        if not self._prewarm.keyring.resolves:
            return ()
        return "", nexus.info().endpoint, input.ctx.service, input.ctx.operation

    async def execute_nexus_operation_cancel(self, input: ExecuteNexusOperationCancelInput) -> None:
        """Check the client, then cancel the operation. There is no result to seal."""
        self._prewarm.client.check_in_nexus_operation()
        try:
            await super().execute_nexus_operation_cancel(input)
        finally:
            patience.begin()


def _unmark_result(
    result: StartOperationResultSync[Any] | StartOperationResultAsync,
) -> StartOperationResultSync[Any] | StartOperationResultAsync:
    """Return ``result`` without the SDK's mark. The SDK would send a ready-made payload that has it as it is."""
    value = result.value if isinstance(result, StartOperationResultSync) else None
    if not isinstance(value, RawValue) or SYSTEM_MARK not in value.payload.metadata:
        return result
    payload = Payload()
    payload.CopyFrom(value.payload)
    del payload.metadata[SYSTEM_MARK]
    return StartOperationResultSync(RawValue(payload))
