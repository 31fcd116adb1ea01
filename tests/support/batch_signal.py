"""A batch operation that signals workflows. The server runs a workflow of its own for it, which holds what it sends."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from temporalio.api.batch.v1 import BatchOperationSignal
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import BatchOperationState
from temporalio.api.workflowservice.v1 import DescribeBatchOperationRequest, StartBatchOperationRequest
from temporalio.client import Client

from tests.support.server_records import eventually


async def signal_all(client: Client, query: str, payloads: Sequence[Payload]) -> None:
    """Send ``payloads``, as they are, to all workflows that match ``query``. The SDK has no such call."""
    job, service = str(uuid.uuid4()), client.workflow_service
    signal = BatchOperationSignal(signal="s", input=Payloads(payloads=payloads), identity="i")
    await service.start_batch_operation(
        StartBatchOperationRequest(
            namespace=client.namespace, visibility_query=query, job_id=job, reason="r", signal_operation=signal
        )
    )
    request = DescribeBatchOperationRequest(namespace=client.namespace, job_id=job)

    async def is_done() -> bool:
        state = (await service.describe_batch_operation(request)).state
        return state == BatchOperationState.BATCH_OPERATION_STATE_COMPLETED

    await eventually(is_done, "the end of the batch operation")
