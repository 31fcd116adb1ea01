"""Failures that are hard to make: none of their words get to Temporal, whatever makes the failures and where."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from devstack import TemporalServer
from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.failure.v1 import Failure
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.workflowservice.v1 import QueryWorkflowRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    FailureConverter,
    PayloadConverter,
    SerializationContext,
    WithSerializationContext,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from envelope_codec.cli.demo.search import Needles
from envelope_codec.testing import FakeKms
from tests.support.memory_storage_driver import MemoryDriver, storage
from tests.support.server_records import events, eventually, pending_activity, result_of
from tests.support.surface_nexus import make_endpoint
from tests.support.unruly_errors import UNRULY
from tests.support.unruly_workflows import (
    DETAILS,
    KINDS,
    Account,
    BankHandler,
    Child,
    NeverGetsOn,
    leave_it_to_others,
    refuse,
    refuse_in_a_thread,
)


@pytest.fixture(scope="module")
def temporal_server(
    run_server: Callable[[TemporalServer], AbstractContextManager[TemporalServer]],
) -> Iterator[TemporalServer]:
    """A server of its own: its whole database is searched."""
    with run_server(TemporalServer()) as server:
        yield server


class NeedsContext(DefaultFailureConverter, WithSerializationContext):
    """Nothing works without a context, and each makes another."""

    def __init__(self) -> None:
        super().__init__()
        self.context: SerializationContext | None = None

    def with_context(self, context: SerializationContext) -> NeedsContext:
        new = NeedsContext()
        new.context = context
        return new

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        assert self.context is not None
        super().to_failure(exception, payload_converter, failure)


class Scratch(FailureConverter):
    """A user's own, that leaves all in clear and is not derived from the default."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        failure.message = f"{exception}"
        failure.application_failure_info.type = "Scratch"

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        return ApplicationError(failure.message)


class ByHand(DataConverter):
    """Asks nobody for failures of activities."""

    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        failure.message = failure.stack_trace = f"{exception}"
        failure.application_failure_info.type = "ByHand"


def _with_failures(failures: Any, base: DataConverter = DataConverter.default) -> DataConverter:
    return replace(base, failure_converter_class=failures)


SETTINGS: dict[str, tuple[Callable[[], DataConverter], dict[str, Any]]] = {
    "default": (lambda: DataConverter.default, {}),
    "partial": (lambda: _with_failures(partial(DefaultFailureConverter, encode_common_attributes=False)), {}),
    "context, nothing cached": (lambda: _with_failures(NeedsContext), {"max_cached_workflows": 0}),
    "hides, pydantic, storage, no sandbox": (
        lambda: replace(
            _with_failures(DefaultFailureConverterWithEncodedAttributes, pydantic_data_converter),
            external_storage=storage(MemoryDriver(), 2_000),
        ),
        {"workflow_runner": UnsandboxedWorkflowRunner()},
    ),
    "context, storage": (
        lambda: replace(_with_failures(NeedsContext), external_storage=storage(MemoryDriver(), 2_000)),
        {},
    ),
    "from scratch, class of its own": (lambda: ByHand(failure_converter_class=Scratch), {}),
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
async def test_no_word_of_a_failure_gets_to_temporal(
    settings: tuple[Callable[[], DataConverter], dict[str, Any]],
    connect: Any,
    plain: Client,
    temporal_server: TemporalServer,
    name: str,
    kms: FakeKms,
) -> None:
    make, worker_settings = settings
    secret = f"marigold-{uuid.uuid4().hex}"
    client, plugin = await connect(kms, data_converter=make(), require_encryption=True)
    plugin.verify(client)
    await make_endpoint(plain, f"bank-{name}", name)
    with ThreadPoolExecutor(2) as threads:
        worker = Worker(
            client,
            task_queue=name,
            workflows=[Account, Child, NeverGetsOn],
            activities=[refuse, refuse_in_a_thread, leave_it_to_others],
            nexus_service_handlers=[BankHandler()],
            activity_executor=threads,
            **worker_settings,
        )
        async with worker:
            stuck = await client.start_workflow(NeverGetsOn.run, secret, id=f"{name}-stuck", task_queue=name)
            # A converter from scratch that knows no Nexus failures leaves operations pending, with us and without.
            endpoint = "" if isinstance(client.data_converter, ByHand) else f"bank-{name}"
            account = await client.start_workflow(Account.run, args=[secret, endpoint], id=name, task_queue=name)
            await _go_through(account, client, plain, secret)
            with pytest.raises(WorkflowFailureError) as failed:
                await result_of(account)
            assert secret in str(failed.value.cause)
            stuck_events = await eventually(lambda: _task_failure(plain, stuck.id), "a workflow task that fails")
            await stuck.terminate()
    told = [*await events(plain, name), *stuck_events]
    needles = Needles([secret])
    assert not needles.find_in(b"".join(event.SerializeToString() for event in told))
    assert temporal_server.db_path is not None
    assert not needles.find_in_database(temporal_server.db_path)


async def _go_through(account: WorkflowHandle[Any, Any], client: Client, plain: Client, secret: str) -> None:
    """Let every way of failing fail, and see the caller told of it."""
    await pending_activity(plain, account.id, lambda pending: pending.activity_id == "others" and pending.attempt == 1)
    others = client.get_async_activity_handle(workflow_id=account.id, run_id=None, activity_id="others")
    error = UNRULY[DETAILS](secret)
    assert isinstance(error, Exception)
    await eventually(lambda: _completed(others.fail(error)), "the activity's completion")
    for kind in (DETAILS, "cyclic causes", "lone surrogate", "type that is no text"):
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await account.execute_update(Account.withdraw, args=[kind, secret])
        assert secret in str(refused.value.cause)
    for kind in KINDS[:-1]:
        with pytest.raises(WorkflowUpdateFailedError):
            await account.execute_update(Account.close, args=[kind, secret])
        arguments = await client.data_converter.encode([kind, secret])
        with pytest.raises(RPCError) as asked:
            await plain.workflow_service.query_workflow(
                QueryWorkflowRequest(
                    namespace="default",
                    execution=WorkflowExecution(workflow_id=account.id),
                    query=WorkflowQuery(query_type="balance", query_args=Payloads(payloads=arguments)),
                )
            )
        assert not Needles([secret]).find_in(asked.value.raw_grpc_status)
    await asyncio.wait_for(account.execute_update(Account.close, args=["", secret]), 60)


async def _completed(completing: Awaitable[None]) -> bool:
    with suppress(RPCError):  # it may not have been left to others yet
        await completing
        return True
    return False


async def _task_failure(plain: Client, workflow_id: str) -> Any:
    told = await events(plain, workflow_id)
    return told if any(event.HasField("workflow_task_failed_event_attributes") for event in told) else None
