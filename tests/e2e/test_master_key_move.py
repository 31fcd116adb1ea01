"""Another master key by configuration: a fleet in two steps, an alias that is pointed elsewhere, a replica."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.worker import Worker

from envelope_codec.envelope import Record
from tests.support.real_master_keys import RealKms, quick_temporal, real_kms
from tests.support.server_records import pending_activity, result_of
from tests.support.signalled_workflows import (
    IMPATIENT,
    SOON,
    Letters,
    Office,
    Once,
    events_of,
    records_in,
    task_failure,
    troubles,
    workers_in,
)
from tests.support.small_workflow_load import Failures
from tests.support.small_workflows import Delegate, Hello, Work

servers = pytest.fixture(scope="module")(real_kms)
temporal_server = pytest.fixture(scope="module")(quick_temporal)

MOVES = [("aws", "aws"), ("aws", "vault"), ("vault", "gcp"), ("local", "aws")]


@pytest.fixture(params=MOVES, ids="-to-".join)
def keys(request: pytest.FixtureRequest, servers: RealKms) -> tuple[str, str]:
    """URIs of the old and the new master key."""
    old, new = request.param
    return servers.create_key(old), servers.create_key(new)


def key_ids(records: list[Record]) -> set[str]:
    return {recipient.key_id for record in records for recipient in record.recipients}


async def test_two_steps_move_a_fleet(
    keys: tuple[str, str], servers: RealKms, connect: Any, plain: Client, name: str
) -> None:
    """At each step two generations of workers and callers stand side by side, and read what either has written."""
    old, new = keys
    old_id, new_id = map(servers.key_id, keys)
    failures = Failures()
    before, _ = await connect(old, observer=failures, **IMPATIENT)
    reading, _ = await connect(old, decrypt_keys=[new], observer=failures, **IMPATIENT)
    writing, _ = await connect(new, decrypt_keys=[old], observer=failures, **IMPATIENT)
    office, letters = Office(), Letters(name, [before], workflows=3)

    async def side_by_side(one: tuple[str, Client], other: tuple[str, Client]) -> None:
        seen = len(await events_of(plain, letters.all_ids))
        letters.written_by(one[1], other[1])
        async with office.worker(one[1], name, one[0]), office.worker(other[1], name, other[0]):
            while {one[0], other[0]} - workers_in((await events_of(plain, letters.all_ids))[seen:]):
                await letters.write()
                await letters.arrived()

    await side_by_side(("before", before), ("reading", reading))
    assert key_ids(records_in(await events_of(plain, letters.all_ids))) == {old_id}
    await side_by_side(("reading", reading), ("writing", writing))
    assert key_ids(records_in(await events_of(plain, letters.all_ids))) == {old_id, new_id}
    letters.written_by(writing)
    async with office.worker(writing, name, "the last"):
        await letters.write()
        await letters.end()

    stored = await events_of(plain, letters.all_ids)
    assert troubles(stored) == []
    assert failures == []
    assert set(office.stamped.values()) == {1}
    assert workers_in(stored) == {"before", "reading", "writing", "the last"}


NOT_CONFIGURED = "none of the envelope's master keys is configured for the namespace that sealed it"


async def test_without_the_first_step_tasks_fail_until_it_is_made_up_for(
    servers: RealKms, connect: Any, plain: Client, name: str
) -> None:
    """A worker that does not know the new key says so; nothing is lost, but an activity that may be tried only once."""
    old, new = servers.create_key("local"), servers.create_key("vault")
    before, _ = await connect(old, refusal_ttl=0)
    reading, _ = await connect(old, decrypt_keys=[new])
    writing, _ = await connect(new, decrypt_keys=[old])
    work, far = Work(), f"{name} far"
    async with Worker(writing, task_queue=name, workflows=[Delegate, Once]):
        async with Worker(before, task_queue=far, workflows=[Hello], activities=[work.echo]):
            hello = await writing.start_workflow(
                Hello.run, "Ada", id=f"{name} hello", task_queue=far, task_timeout=SOON
            )
            delegate = await writing.start_workflow(
                Delegate.run, args=["echo", far, "the input"], id=name, task_queue=name
            )
            failure = await task_failure(plain, hello.id)
            assert failure.application_failure_info.type == "KeyNotConfigured"
            assert str(await before.data_converter.decode_failure(failure)) == f"KeyNotConfigured: {NOT_CONFIGURED}"
            pending = await pending_activity(plain, name, lambda one: one.attempt >= 2 and one.HasField("last_failure"))
            assert pending.last_failure.cause.application_failure_info.type == "KeyNotConfigured"
            with pytest.raises(WorkflowFailureError) as failed:
                await writing.execute_workflow(
                    Once.run, args=["echo", far, "the input"], id=f"{name} once", task_queue=name
                )
            refused = failed.value.cause.__cause__
            assert refused is not None
            assert str(refused) == "Failed decoding arguments"
            assert str(refused.__cause__) == f"KeyNotConfigured: {NOT_CONFIGURED}"
        assert work.attempts == []
        async with Worker(reading, task_queue=far, workflows=[Hello], activities=[work.echo]):
            assert await result_of(hello) == "Hello, Ada!"
            assert await result_of(delegate) == "echo of the input"
    assert len(work.attempts) == 1


# --- AWS --------------------------------------------------------------------------------------------------------------


async def test_an_alias_that_is_pointed_at_another_key(
    servers: RealKms, connect: Any, plain: Client, name: str
) -> None:
    aws = servers["aws"]
    admin = aws.client()
    first, second = (admin.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    account = first.split(":")[4]
    alias = f"alias/{name}"
    admin.create_alias(AliasName=alias, TargetKeyId=first)
    arn = f"{first.partition(':key/')[0]}:{alias}"
    client, plugin = await connect(aws.uri(arn), **IMPATIENT)
    office, letters = Office(), Letters(name, [client], workflows=1, task_timeout=SOON)
    async with office.worker(client, name, "through both"):
        await letters.write()
        await letters.arrived()
        # The bare id, because LocalStack loses the key of an alias that is given the ARN.
        admin.update_alias(AliasName=alias, TargetKeyId=second.rpartition("/")[2])
        await plugin.keyring.renew()
        await letters.write()
        await letters.arrived()
    stored = await events_of(plain, letters.all_ids)
    assert troubles(stored) == []
    assert key_ids(records_in(stored)) == {first, second}

    # What remembers nothing of the earlier target opens what is allowed by configuration.
    cold, _ = await connect(aws.uri(arn))
    letters.written_by(client)
    async with office.worker(cold, name, "alone"):
        await letters.write()
        failure = await task_failure(plain, letters.ids[0])
        assert failure.application_failure_info.type == "KeyNotConfigured"
    by_list, _ = await connect(aws.uri(arn), decrypt_keys=[aws.uri(first)])
    by_account, _ = await connect(aws.uri(arn, decrypt_accounts=account))
    for number, allowed in enumerate((by_list, by_account)):
        letters.written_by(allowed)
        async with office.worker(allowed, name, f"allowed {number}"):
            await letters.write()
            await letters.arrived()
    async with office.worker(by_account, name, "the last"):
        await letters.end()


async def test_a_replica_in_another_region_opens_what_was_sealed_here_and_the_reverse(
    servers: RealKms, connect: Any, plain: Client, name: str
) -> None:
    aws = servers["aws"]
    here = aws.client().create_key(MultiRegion=True)["KeyMetadata"]["Arn"]
    aws.client().replicate_key(KeyId=here, ReplicaRegion="eu-west-1")
    there = here.replace("us-east-1", "eu-west-1")
    near, _ = await connect(aws.uri(here), **IMPATIENT)
    far, _ = await connect(aws.uri(there), **IMPATIENT)
    office, letters = Office(), Letters(name, [near, far], workflows=2)
    async with office.worker(near, name, "near"), office.worker(far, name, "far"):
        while workers_in(await events_of(plain, letters.all_ids)) != {"near", "far"}:
            await letters.write()
            await letters.arrived()
        await letters.end()
    stored = await events_of(plain, letters.all_ids)
    assert troubles(stored) == []
    assert key_ids(records_in(stored)) == {here, there}
