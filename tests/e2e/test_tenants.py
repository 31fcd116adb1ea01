"""Keys per namespace and per tenant: each seals its own, and what is deleted or forged touches nobody else."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from devstack import TemporalServer
from temporalio.api.common.v1 import Payload
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.converter import WorkflowSerializationContext
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from envelope_codec import (
    ConfigurationError,
    EnvelopeConfig,
    EnvelopePlugin,
    Event,
    KeyDenied,
    SealingContext,
)
from envelope_codec.cli.inspection.inventory import Inventory
from envelope_codec.cli.payloads.walk import locations_in
from envelope_codec.envelope import parse
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.payload_walk import payloads_in
from tests.e2e.test_workflows import Journey
from tests.support.all_data_workflow import mark
from tests.support.context_header import ContextHeader
from tests.support.real_master_keys import RealKms, quick_temporal, real_kms
from tests.support.server_records import Run, register
from tests.support.signalled_workflows import (
    IMPATIENT,
    SOON,
    Carry,
    Letters,
    Office,
    Post,
    events_of,
    records_in,
    task_failure,
    troubles,
)
from tests.support.small_workflows import Hello

servers = pytest.fixture(scope="module")(real_kms)
temporal_server = pytest.fixture(scope="module")(quick_temporal)


# --- a key for each namespace -----------------------------------------------------------------------------------------


async def test_each_namespace_seals_with_its_own_key(
    servers: RealKms, connect: Any, plain: Client, temporal_server: TemporalServer, name: str
) -> None:
    exact, some, default = (servers.create_key(provider) for provider in ("aws", "vault", "local"))
    config = EnvelopeConfig(
        key=default,
        namespaces={f"prod-{name}": {"key": exact}, f"prod-{name}-*": {"key": some}},
        required=["prod-*"],
        startup_jitter=0,
        **IMPATIENT,
    )
    expected = {f"prod-{name}": exact, f"prod-{name}-eu": some, f"dev-{name}": default}
    office = Office()
    for namespace, uri in expected.items():
        await register(plain, namespace)
        client, _ = await connect(config, namespace=namespace)
        letters = Letters(name, [client], workflows=1)
        async with office.worker(client, name, namespace):
            await letters.write()
            await letters.arrived()
            await letters.end()
        there = await Client.connect(temporal_server.address, namespace=namespace)
        stored = await events_of(there, letters.all_ids)
        assert troubles(stored) == []
        records = records_in(stored)
        assert {recipient.key_id for record in records for recipient in record.recipients} == {servers.key_id(uri)}
        assert {record.namespace for record in records} == {namespace}
    with pytest.raises(ConfigurationError, match="namespace 'prod-us' has no master key"):
        await connect(config, namespace="prod-us")


async def test_a_renamed_namespace_reads_what_it_sealed_under_its_old_name(
    servers: RealKms, connect: Any, plain: Client, temporal_server: TemporalServer, name: str
) -> None:
    """The KMS is told the old name for what was sealed under it, and the new name for the rest."""
    uri, old, new = servers.create_key("vault"), f"old-{name}", f"new-{name}"
    await register(plain, old)
    before, _ = await connect(EnvelopeConfig(namespaces={old: {"key": uri}}, startup_jitter=0), namespace=old)
    letters, office = Letters(name, [before], workflows=1), Office()
    async with office.worker(before, name, "before"):
        await letters.write()
        await letters.arrived()
        await letters.end()
    there = await Client.connect(temporal_server.address, namespace=old)
    history = await there.get_workflow_handle(letters.ids[0]).fetch_history()

    def renamed(**aliases: str) -> EnvelopePlugin:
        return EnvelopePlugin(EnvelopeConfig(namespaces={"new-*": {"key": uri}}, namespace_aliases=aliases))

    for plugin, allowed in ((renamed(**{old: new}), True), (renamed(), False), (renamed(**{new: old}), False)):
        with plugin:
            replayer = Replayer(
                workflows=[Post, Carry],
                plugins=[plugin],
                namespace=new,
                workflow_runner=UnsandboxedWorkflowRunner(),
            )
            replayed = await replayer.replay_workflow(history, raise_on_replay_failure=False)
            assert (replayed.replay_failure is None) is allowed


# --- a key for each tenant --------------------------------------------------------------------------------------------


class Tenants:
    """A master key for each tenant, whose name is the beginning of its workflows' ids."""

    def __init__(self, default: str, **keys: str) -> None:
        self.default = default
        self.keys = keys

    def __call__(self, context: SealingContext) -> str | None:
        return self.keys.get(context.workflow_id.partition("-")[0])

    def config(self, **settings: Any) -> EnvelopeConfig:
        return EnvelopeConfig(
            key=self.default, decrypt_keys=tuple(self.keys.values()), resolver=self, startup_jitter=0, **settings
        )


WITHOUT_CONTEXT = {
    *(
        f"workflowExecution{event}.header.fields.context"
        for event in (
            "StartedEventAttributes",
            "SignaledEventAttributes",
            "UpdateAcceptedEventAttributes.acceptedRequest.input",
        )
    ),
    "activityTaskCompletedEventAttributes.result.payloads[]",
    "activityTaskFailedEventAttributes.failure.encodedAttributes",
    "activityTaskCanceledEventAttributes.details.payloads[]",
}
"""Where the SDK says nothing of the workflow: headers that a client sets, and activities that are completed by one."""


def key_ids_by_place(run: Run) -> Iterator[tuple[str, str]]:
    """Where each payload of a history stands, without numbers, and whose key it needs."""
    inventory = Inventory.of(locations_in([json.loads(run.json)]))
    for item in inventory.items:
        if item.record is not None:
            (recipient,) = inventory.records[item.record].recipients
            yield re.sub(r"\[\d+\]", "[]", item.path).removeprefix("events[]."), recipient.key_id


def key_id_of(payload: Payload) -> str:
    envelope = parse(payload.metadata, payload.data)
    assert envelope is not None
    (recipient,) = envelope.record.recipients
    return recipient.key_id


async def test_each_tenants_payloads_are_sealed_by_its_own_key(
    servers: RealKms, connect: Any, plain: Client, name: str
) -> None:
    """Every payload of the histories of a workflow that uses them all, and of what it answers to queries."""
    tenants = Tenants(servers.create_key("local"), acme=servers.create_key("aws"), bolt=servers.create_key("gcp"))
    base = f"marigold{name}"
    client, _ = await connect(tenants.config(), interceptors=[ContextHeader(mark(base, "header"))])
    journeys = {tenant: Journey(client, plain, f"{tenant}-{name}", base) for tenant in tenants.keys}
    await asyncio.wait_for(asyncio.gather(*(journey.go() for journey in journeys.values())), 120)
    default = servers.key_id(tenants.default)
    for tenant, journey in journeys.items():
        own = servers.key_id(tenants.keys[tenant])
        stored = [place for run in await journey.stored() for place in key_ids_by_place(run)]
        assert {key_id for _, key_id in stored} == {own, default}
        assert {place for place, key_id in stored if key_id == default} == WITHOUT_CONTEXT
        assert {key_id_of(payload) for payload in journey.queried} == {own}
        by_worker, by_client = (_heartbeat(snapshot) for snapshot in journey.snapshots)
        assert (key_id_of(by_worker), key_id_of(by_client)) == (own, default)


def _heartbeat(snapshot: bytes) -> Payload:
    """The heartbeat details of the one pending activity that has any."""
    description = DescribeWorkflowExecutionResponse.FromString(snapshot)
    (payload,) = [one for activity in description.pending_activities for one in activity.heartbeat_details.payloads]
    return payload


@pytest.mark.parametrize("provider", ["aws", "gcp", "vault"])
async def test_deleting_a_tenants_key_ends_that_tenant_and_nobody_else(
    provider: str, servers: RealKms, connect: Any, plain: Client, name: str
) -> None:
    """While the other's workflows, and those of no tenant, go on in the same worker."""
    tenants = Tenants(servers.create_key("local"), acme=servers.create_key(provider), bolt=servers.create_key(provider))
    config = tenants.config(lease=0.5, outage_grace=0, refusal_ttl=0.1, **IMPATIENT)
    client, _ = await connect(config, interceptors=[ContextHeader("a header")])
    office, enough = Office(), asyncio.Event()
    own, default = servers.key_id(tenants.keys["acme"]), servers.key_id(tenants.default)
    acme = Letters(f"acme-{name}", [client], 1, task_queue=name)
    others = [Letters(f"{who}{name}", [client], 1, task_queue=name) for who in ("bolt-", "")]
    async with office.worker(client, name, "all tenants'"):
        for letters in (acme, *others):
            await letters.write()
            await letters.arrived()
        handle = client.get_workflow_handle_for(Post.run, acme.ids[0])
        read_before = await events_of(plain, acme.all_ids)
        context = WorkflowSerializationContext(namespace="default", workflow_id=handle.id)
        (last_words,) = await client.data_converter.with_context(context).encode(["last words"])
        writing = asyncio.gather(*(letters.write_until(enough) for letters in others))

        await asyncio.to_thread(servers[provider].schedule_deletion, tenants.keys["acme"])
        deleted = time.monotonic()
        while True:  # by one lease later at the latest
            asked = time.monotonic()
            try:
                await handle.signal(Post.write, "too late")
            except KeyDenied:
                break
            assert asked < deleted + config.lease
        await plain.get_workflow_handle(handle.id).signal("write", RawValue(last_words))
        await task_failure(plain, handle.id)
        for letters in others:
            await letters.more(2)
        enough.set()
        await asyncio.wait_for(writing, 60)
        for letters in others:
            await letters.end()
    for letters in others:
        assert troubles(await events_of(plain, letters.all_ids)) == []

    # Neither this process nor one that starts later reads anything of it, but what bore no workflow's id.
    cold, _ = await connect(config)
    payloads = [payload for event in read_before for payload in payloads_in(event)]
    assert {key_id_of(payload) for payload in payloads} == {own, default}
    for reader in (client, cold):
        for payload in payloads:
            if key_id_of(payload) == default:
                assert await reader.data_converter.decode([payload]) == ["a header"]
            else:
                with pytest.raises(KeyDenied):
                    await reader.data_converter.decode([payload])


# --- forgeries --------------------------------------------------------------------------------------------------------


async def test_a_key_of_one_namespace_does_not_open_what_claims_to_be_of_another(
    servers: RealKms, connect: Any, plain: Client, temporal_server: TemporalServer, name: str
) -> None:
    """Whoever may use the key of ``dev`` seals for ``prod``. A worker that has both keys refuses, and asks no KMS."""
    dev, prod = f"dev-{name}", f"prod-{name}"
    keys = {dev: servers.create_key("vault"), prod: servers.create_key("aws")}
    forger = EnvelopeCodec(keys[dev], namespace=prod)
    (forged,) = await forger.encode([_text("a forgery")])
    forger.close()
    envelope = parse(forged.metadata, forged.data)
    assert envelope is not None
    assert (envelope.record.namespace, key_id_of(forged)) == (prod, servers.key_id(keys[dev]))

    await register(plain, prod)
    there = await Client.connect(temporal_server.address, namespace=prod)
    asked = Asked()
    config = EnvelopeConfig(namespaces={name: {"key": uri} for name, uri in keys.items()}, startup_jitter=0)
    client, _ = await connect(config, namespace=prod, observer=asked)
    await there.start_workflow("Hello", RawValue(forged), id=f"{name} forged", task_queue=name, task_timeout=SOON)
    async with Worker(client, task_queue=name, workflows=[Hello]):
        failure = await task_failure(there, f"{name} forged")
        assert failure.application_failure_info.type == "KeyNotConfigured"
        assert await client.execute_workflow(Hello.run, "Ada", id=f"{name} true", task_queue=name) == "Hello, Ada!"
    assert {event.key_id for event in asked if event.operation in ("wrap", "unwrap")} == {servers.key_id(keys[prod])}


class Asked(list[Event]):
    """An observer that takes down what it is told."""

    def on_event(self, event: Event) -> None:
        self.append(event)


def _text(text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(text).encode())
