"""Two namespaces, two keys: what one has sealed, the other does not open, even if somebody copies it there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from devstack import TemporalServer
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import RawValue
from temporalio.worker import Worker

from envelope_codec import EnvelopeConfig, NamespaceKeys, SealingContext
from envelope_codec.testing import FakeKms
from tests.support.server_records import describe, events, eventually, register, result_of
from tests.support.small_workflows import Hello
from tests.support.surface_nexus import Ask, make_endpoint
from tests.support.surface_operations import Handler
from tests.support.surface_permitted import nexus_sides


@pytest.fixture
async def namespaces(plain: Client, name: str) -> tuple[str, str]:
    """Two new namespaces."""
    made = f"blue-{name}", f"green-{name}"
    for namespace in made:
        await register(plain, namespace)
    return made


async def sealed_input(client: Client, plain: Client, name: str) -> Payload:
    """The input of a workflow, as the server has it."""
    await client.start_workflow(Hello.run, "a secret", id=name, task_queue="nobody's")
    started = (await events(plain, name))[0]
    return started.workflow_execution_started_event_attributes.input.payloads[0]


async def refusal(plain: Client, workflow_id: str, client: Client) -> tuple[str, str]:
    """Type and text of the error of the workflow's first failed task."""

    async def failed() -> Failure | None:
        for event in await events(plain, workflow_id):
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                return event.workflow_task_failed_event_attributes.failure
        return None

    failure = await eventually(failed, "a failed workflow task")
    assert failure.message == "Encoded failure"
    kind = failure.application_failure_info.type
    return kind, str(await client.data_converter.decode_failure(failure))


class Case(NamedTuple):
    """A payload that a worker refuses.

    Attributes:
        origin: the namespace that sealed it.
        config: of the worker in the namespace "green" that gets it.
        remedy: with which a worker there opens it.
        expected: what the former says.
    """

    origin: str
    config: EnvelopeConfig
    remedy: EnvelopeConfig
    expected: str


def another_namespace(blue: str, green: str, keys: dict[str, FakeKms]) -> Case:
    own = NamespaceKeys(key=keys[green])
    more = NamespaceKeys(key=keys[green], decrypt_keys=(keys[blue],))
    return Case(
        blue,
        EnvelopeConfig(namespaces={green: own}, startup_jitter=0),
        EnvelopeConfig(namespaces={green: more}, namespace_aliases={blue: green}, startup_jitter=0),
        "ContextMismatch: the envelope was sealed for another namespace",
    )


def another_namespace_whose_key_is_at_hand(blue: str, green: str, keys: dict[str, FakeKms]) -> Case:
    both = {namespace: NamespaceKeys(key=key) for namespace, key in keys.items()}
    return Case(
        blue,
        EnvelopeConfig(namespaces=both, startup_jitter=0),
        EnvelopeConfig(namespaces=both, namespace_aliases={blue: green}, startup_jitter=0),
        "ContextMismatch: the envelope was sealed for another namespace",
    )


def another_key(blue: str, green: str, keys: dict[str, FakeKms]) -> Case:
    key = FakeKms()
    return Case(
        green,
        EnvelopeConfig(namespaces={green: NamespaceKeys(key=key)}, startup_jitter=0),
        EnvelopeConfig(namespaces={green: NamespaceKeys(key=key, decrypt_keys=(keys[green],))}, startup_jitter=0),
        "KeyNotConfigured: none of the envelope's master keys is configured for the namespace that sealed it",
    )


@pytest.mark.parametrize("case_of", [another_namespace, another_namespace_whose_key_is_at_hand, another_key])
async def test_payload_from_elsewhere_is_refused_and_not_lost(
    case_of: Callable[[str, str, dict[str, FakeKms]], Case],
    connect: Any,
    temporal_server: TemporalServer,
    namespaces: tuple[str, str],
    name: str,
) -> None:
    blue, green = namespaces
    keys = {blue: FakeKms(), green: FakeKms()}
    case = case_of(blue, green, keys)
    writer, _ = await connect(keys[case.origin], namespace=case.origin)
    copied = await sealed_input(
        writer, await Client.connect(temporal_server.address, namespace=case.origin), f"{name} origin"
    )
    plain = await Client.connect(temporal_server.address, namespace=green)
    handle = await plain.start_workflow(
        "Hello", RawValue(copied), id=name, task_queue=name, task_timeout=timedelta(seconds=2)
    )
    client, _ = await connect(case.config, namespace=green)
    async with Worker(client, task_queue=name, workflows=[Hello]):
        assert await refusal(plain, name, client) == (case.expected.split(":")[0], case.expected)
    assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING

    client, _ = await connect(case.remedy, namespace=green)
    async with Worker(client, task_queue=name, workflows=[Hello]):
        result = client.get_workflow_handle(name, result_type=str).result()
        assert await asyncio.wait_for(result, 60) == "Hello, a secret!"


async def test_nexus_operation_waits_for_the_side_that_lacks_the_others_key(
    connect: Any, temporal_server: TemporalServer, namespaces: tuple[str, str], name: str
) -> None:
    """A key that is configured for another namespace than the one that sealed does not help."""
    calling, handling = namespaces
    keys = {calling: FakeKms(), handling: FakeKms()}
    both = tuple(keys.values())

    def without_the_others(own: str) -> EnvelopeConfig:
        others = tuple(key for key in both if key is not keys[own])
        return EnvelopeConfig(namespaces={own: NamespaceKeys(key=keys[own], decrypt_keys=others)}, startup_jitter=0)

    plain = await Client.connect(temporal_server.address, namespace=calling)
    await make_endpoint(await Client.connect(temporal_server.address, namespace=handling), f"endpoint-{name}", name)
    caller, handler = nexus_sides(calling, keys[calling], handling, keys[handling])
    right_caller, _ = await connect(caller, namespace=calling)
    wrong_caller, _ = await connect(without_the_others(calling), namespace=calling)
    right_handler, _ = await connect(handler, namespace=handling)
    wrong_handler, _ = await connect(without_the_others(handling), namespace=handling)

    handle = await right_caller.start_workflow(
        Ask.run, args=[f"endpoint-{name}", "a secret"], id=name, task_queue=name, task_timeout=timedelta(seconds=2)
    )

    async def refused() -> Failure | None:
        pending = (await describe(plain, name)).pending_nexus_operations
        return next((one.last_attempt_failure for one in pending if one.HasField("last_attempt_failure")), None)

    async with Worker(wrong_caller, task_queue=name, workflows=[Ask]):
        async with Worker(wrong_handler, task_queue=name, nexus_service_handlers=[Handler()]):
            failure = await eventually(refused, "a refused operation")
        assert failure.message == "Encoded failure"
        error = await right_caller.data_converter.decode_failure(failure)
        assert str(error) == "Payload codec failed to decode Nexus operation input"
        async with Worker(right_handler, task_queue=name, nexus_service_handlers=[Handler()]):
            kind, text = await refusal(plain, name, right_caller)
        assert kind == "KeyNotConfigured"
        assert text.endswith("none of the envelope's master keys is configured for the namespace that sealed it")
    async with Worker(right_caller, task_queue=name, workflows=[Ask]):
        assert await result_of(handle) == ["a secret"]


async def test_nexus_needs_no_settings_where_one_key_serves_both_namespaces(
    connect: Any, temporal_server: TemporalServer, namespaces: tuple[str, str], name: str, kms: FakeKms
) -> None:
    calling, handling = namespaces
    await make_endpoint(await Client.connect(temporal_server.address, namespace=handling), f"endpoint-{name}", name)
    caller, _ = await connect(kms, namespace=calling)
    handler, _ = await connect(kms, namespace=handling)
    async with (
        Worker(caller, task_queue=name, workflows=[Ask]),
        Worker(handler, task_queue=name, nexus_service_handlers=[Handler()]),
    ):
        told = caller.execute_workflow(Ask.run, args=[f"endpoint-{name}", "a secret"], id=name, task_queue=name)
        assert await asyncio.wait_for(told, 60) == ["a secret"]


async def test_resolver_chooses_keys_by_nexus_endpoint(
    connect: Any, temporal_server: TemporalServer, namespaces: tuple[str, str], name: str
) -> None:
    """Neither side has the other's usual key: all that passes between them is sealed with the endpoint's."""
    calling, handling = namespaces
    endpoint = f"endpoint-{name}"
    here, there, shared = FakeKms(), FakeKms(), FakeKms()
    asked: set[SealingContext] = set()

    def resolve(context: SealingContext) -> FakeKms | None:
        asked.add(context)
        return shared if context.endpoint == endpoint else None

    await make_endpoint(await Client.connect(temporal_server.address, namespace=handling), endpoint, name)
    settings = {"decrypt_keys": [shared], "resolver": resolve, "require_encryption": True}
    caller, _ = await connect(here, namespace=calling, **settings)
    handler, _ = await connect(there, namespace=handling, **settings)
    async with (
        Worker(caller, task_queue=name, workflows=[Ask], max_cached_workflows=0),
        Worker(handler, task_queue=name, nexus_service_handlers=[Handler()]),
    ):
        told = caller.execute_workflow(Ask.run, args=[endpoint, "a secret"], id=name, task_queue=name)
        assert await asyncio.wait_for(told, 60) == ["a secret"]
    assert {one for one in asked if one.endpoint} == {
        SealingContext(namespace, "", endpoint, "PoppyService", "echo") for namespace in namespaces
    }
    assert shared.wraps == 2
    assert here.wraps == 1
