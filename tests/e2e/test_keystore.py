"""A keystore on a real server, beside a real KMS and a real Temporal: killed, back, given another master key, read."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest
from devstack import PostgresServer
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowFailureError
from temporalio.worker import Replayer, Worker

from envelope_codec import EnvelopeConfig
from envelope_codec.envelope import Recipient
from envelope_codec.errors import KmsUnavailable
from envelope_codec.keystore import parse_keystore_url
from envelope_codec.keystore_change import add_verified
from envelope_codec.keystore_client import KeystoreClient
from envelope_codec.keystore_row import KeystoreRow, parse_row
from envelope_codec.kms import WrappedSecret, master_key
from envelope_codec.temporal.payload_walk import payloads_in
from tests.support.codec_server import returned, serving
from tests.support.harness_keystores import SERVED_BY
from tests.support.real_master_keys import RealKms, quick_temporal, real_kms
from tests.support.server_records import events, eventually
from tests.support.signalled_workflows import records_in
from tests.support.small_workflows import Hello

servers = pytest.fixture(scope="module")(real_kms)
temporal_server = pytest.fixture(scope="module")(quick_temporal)


async def rows_of(url: str) -> dict[bytes, KeystoreRow]:
    """The rows of a keystore, by the ids of their records."""
    client = KeystoreClient(parse_keystore_url(url))
    rows = [parse_row(kept.key, kept.data) async for kept in client.rows()]
    await client.aclose()
    return {row.id: row for row in rows}


async def add_recipients(url: str, old: str, new: str) -> None:
    """Wrap the secret of every row with the new master key as well."""
    client, before, after = KeystoreClient(parse_keystore_url(url)), master_key(old), master_key(new)
    async for kept in client.rows():
        row = parse_row(kept.key, kept.data)
        first = row.verified[0]
        wrapped = WrappedSecret(first.key_id, first.key_version, first.ciphertext)
        again = after.wrap(before.unwrap(wrapped, row.kms_context).secret, row.kms_context)
        changed = add_verified(row, Recipient(again.key_id, again.key_version, again.ciphertext))
        await client.put(kept.key, changed.serialize(), kept.revision)
    await client.aclose()


async def test_a_keystore_is_killed_and_comes_back_and_takes_the_master_keys_place(
    servers: RealKms, run_server: Any, connect: Any, plain: Client, name: str
) -> None:
    old, new = servers.create_key("aws"), servers.create_key("vault")
    ids = [f"{name} {number}" for number in range(3)]

    async def sealed_by(number: int) -> set[bytes]:
        """Ids of the wrapping keys of one workflow."""
        return {record.id for record in records_in(await events(plain, ids[number]))}

    with run_server(PostgresServer()) as server:
        url = await SERVED_BY["postgresql"](server).place()
        client, plugin = await connect(old, keystore=url)
        async with Worker(client, task_queue=name, workflows=[Hello]):

            async def greet(number: int) -> None:
                greeting = await client.execute_workflow(Hello.run, "Ada", id=ids[number], task_queue=name)
                assert greeting == "Hello, Ada!"

            await greet(0)
            [first] = await rows_of(url)
            assert await sealed_by(0) == {first}

            os.killpg(server.pid, signal.SIGKILL)
            await asyncio.to_thread(server._process._popen.wait)
            with pytest.raises(KmsUnavailable, match="goes on"):
                await plugin.keyring.renew(timeout=5)
            await greet(1)
            assert await sealed_by(1) == {first}

            await asyncio.to_thread(server.restart)

            async def renewed() -> bool:
                try:
                    await plugin.keyring.renew(timeout=5)
                except KmsUnavailable:  # it has not been asked again yet
                    return False
                return True

            await eventually(renewed, "the keystore")
            await greet(2)
            [second] = set(await rows_of(url)) - {first}
            assert await sealed_by(2) == {second}

        stored = [await plain.get_workflow_handle(one).fetch_history() for one in ids]
        await add_recipients(url, old, new)
        servers["aws"].client().disable_key(KeyId=servers.key_id(old))

        cold, _ = await connect(new, keystore=url)
        for one in ids:
            assert await cold.get_workflow_handle(one, result_type=str).result() == "Hello, Ada!"
        replayer = Replayer(workflows=[Hello], data_converter=cold.data_converter)
        for history in stored:
            await replayer.replay_workflow(history)
        assert [await plain.get_workflow_handle(one).fetch_history() for one in ids] == stored

        payloads = [payload for history in stored for event in history.events for payload in payloads_in(event)]
        with serving(EnvelopeConfig(key=new, keystore=url, sealing=False)) as codec_server:
            shown = returned(codec_server.post("/decode", payloads, {"X-Namespace": "default"}))
        assert {payload.data for payload in shown} == {b'"Ada"', b'"Hello, Ada!"'}
        assert not any(same(one, other) for one, other in zip(payloads, shown, strict=True))

    without, _ = await connect(new)
    with pytest.raises(Exception, match="none of the envelope's master keys is configured") as failed:
        await without.get_workflow_handle(ids[0], result_type=str).result()
    assert not isinstance(failed.value, WorkflowFailureError)


def same(one: Payload, other: Payload) -> bool:
    return one.data == other.data
