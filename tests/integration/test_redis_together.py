"""Redis Cluster and sentinels: servers that fail and are replaced, and each thing that can be wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from devstack import ValkeyServer
from localserver import free_port
from temporalio.api.common.v1 import Payload
from temporalio.converter import StorageDriverRetrieveContext, StorageDriverStoreContext
from valkeys import (
    PASSWORD,
    SENTINEL_PASSWORD,
    SERVICE,
    ValkeyCluster,
    ValkeyClusterNode,
    ValkeyNode,
    ValkeyService,
    wait_until,
)

from envelope_codec import EnvelopeConfig, EnvelopeError, StoreRefused, StoreUnavailable
from envelope_codec.cli.store_hint import STORE_HINTS
from envelope_codec.keystore import parse_keystore_url
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.storage.pool import Pool
from envelope_codec.store import parse_store_url
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms
from tests.support import tls_proxy
from tests.support.certificates import write_certificate
from tests.support.harness_stores import listed, new_id, opened

HERE = "127.0.0.1"
STORING, READING = StorageDriverStoreContext(), StorageDriverRetrieveContext()


@pytest.fixture(scope="module")
def service(valkey: ValkeyServer) -> Iterator[ValkeyService]:
    with ValkeyService() as running:
        yield running


@pytest.fixture(scope="module")
def lone_node(valkey: ValkeyServer) -> Iterator[ValkeyClusterNode]:
    """A server of a cluster that has no slots yet."""
    with ValkeyClusterNode() as node:
        yield node


async def failure(url: str, *, keystore: bool = False) -> EnvelopeError:
    store: Any = parse_keystore_url(url).open() if keystore else opened(url)
    with pytest.raises(EnvelopeError) as caught:
        await (store.get(bytes(32)) if keystore else store.get(new_id()))
    await store.close()
    assert HERE not in str(caught.value)
    assert caught.value.reason in STORE_HINTS["redis"]
    assert caught.value.operation == "get"
    return caught.value


def same_number_of_keys(one: ValkeyNode, other: ValkeyNode) -> bool:
    return bool(one.ask("DBSIZE") == other.ask("DBSIZE") > 0)


async def assert_told_in_the_end(store: Any, said: str) -> None:
    """Servers take some time to agree on what has failed."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        try:
            await store.put(new_id(), b"in vain")
        except StoreUnavailable as error:
            if said in str(error):
                return
    raise AssertionError(f"nothing said {said!r}")


@pytest.mark.parametrize(
    "group",
    [
        pytest.param(lambda: ValkeyCluster(replica=True), id="cluster", marks=pytest.mark.nightly),
        pytest.param(ValkeyService, id="sentinel"),
    ],
)
async def test_after_a_failover_all_is_there_and_writing_goes_on(group: Any, valkey: ValkeyServer) -> None:
    with group() as servers:
        is_service = isinstance(servers, ValkeyService)
        failing = servers.primary if is_service else servers.primaries[0]
        replica = servers.replica if is_service else servers.replicas[0]
        codec = EnvelopeCodec(EnvelopeConfig(key=FakeKms(), timeout=50))
        driver = EnvelopeDriver(Pool(parse_store_url(servers.url)), codec)
        store: Any = driver.pool.open_here().store
        payloads = await codec.encode([Payload(data=bytes([number])) for number in range(40)])
        keystore = parse_keystore_url(servers.url).open()
        keys = [bytes([number]) * 32 for number in range(20)]
        revisions = [await keystore.put(key, b"a row", None) for key in keys]
        claims = await driver.store(STORING, payloads[:20])
        await asyncio.to_thread(wait_until, lambda: same_number_of_keys(failing, replica))

        await asyncio.to_thread(failing.kill)
        claims += await driver.store(STORING, payloads[20:])  # it asks again until another one is primary
        assert await driver.retrieve(READING, claims) == payloads
        assert len(await listed(store)) == 40
        assert [kept.key async for kept in keystore.rows()] == keys
        for key, revision in zip(keys, revisions, strict=True):
            await keystore.put(key, b"another", revision)

        await asyncio.to_thread(replica.kill)
        await assert_told_in_the_end(store, "know no primary that is up" if is_service else "the cluster is down")
        await keystore.close()
        await driver.pool.aclose()


async def test_what_is_wrong_with_sentinels_is_told(service: ValkeyService, valkey: ValkeyServer) -> None:
    service.sentinel.ask("ACL", "SETUSER", "blind", "on", ">sesame", "-@all", "+@connection")
    good = (
        f"redis+sentinel://:{PASSWORD}@{HERE}:{service.sentinel.port}/{SERVICE}?sentinel_password={SENTINEL_PASSWORD}"
    )
    wrong: list[tuple[str, str, type[EnvelopeError], str]] = [
        (f"/{SERVICE}?", "/astray?", StoreRefused, "know no service of that name"),
        (SENTINEL_PASSWORD, "wrong", StoreRefused, "wrong user or password of their own"),
        (f"?sentinel_password={SENTINEL_PASSWORD}", "", StoreRefused, "wrong user or password of their own"),
        (f"={SENTINEL_PASSWORD}", "=sesame&sentinel_username=blind", StoreRefused, "do not permit"),
        (f":{PASSWORD}@", ":wrong@", StoreRefused, "the server refused the login"),
        (f":{PASSWORD}@", "", StoreRefused, "the server refused the login"),
        (f":{service.sentinel.port}/", f":{free_port()}/", StoreUnavailable, "no sentinel answered"),
    ]
    for before, after, kind, said in wrong:
        assert before in good
        for keystore in (False, True):
            told = await failure(good.replace(before, after), keystore=keystore)
            assert (type(told), said in str(told)) == (kind, True), (after, str(told))
    told = await failure(f"redis+sentinel://{valkey.url.removeprefix('redis://').removesuffix('/0')}/{SERVICE}")
    assert (type(told), str(told)) == (StoreRefused, "what answered is no sentinel")


async def test_what_is_wrong_with_a_cluster_is_told(lone_node: ValkeyClusterNode, valkey: ValkeyServer) -> None:
    cluster = f"redis+cluster://:{PASSWORD}@{HERE}:{lone_node.port}"
    no_slots = await failure(cluster)
    assert (type(no_slots), str(no_slots)) == (
        StoreUnavailable,
        "the cluster is down: some of its slots have no server",
    )
    wrong_password = await failure(cluster.replace(PASSWORD, "wrong"), keystore=True)
    assert "the server refused the login" in str(wrong_password)
    nobody = await failure(f"redis+cluster://:{PASSWORD}@{HERE}:{free_port()}")
    assert (type(nobody), str(nobody)) == (StoreUnavailable, "the server did not answer")
    single = await failure(valkey.url.replace("redis://", "redis+cluster://"))
    assert (type(single), str(single)) == (StoreRefused, "the server is no Redis Cluster")

    lone_node.ask("CLUSTER", "ADDSLOTSRANGE", "0", "8000")
    await asyncio.to_thread(wait_until, lambda: "cluster_slots_ok:8001" in lone_node.ask("CLUSTER", "INFO"))
    down = await failure(cluster)
    assert "the cluster is down" in str(down)


async def test_a_cluster_that_tells_addresses_that_nobody_reaches_is_told_as_that(valkey: ValkeyServer) -> None:
    with ValkeyClusterNode(announced=free_port()) as node:
        node.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        await asyncio.to_thread(wait_until, lambda: "cluster_state:ok" in node.ask("CLUSTER", "INFO"))
        told = await failure(f"redis+cluster://:{PASSWORD}@{HERE}:{node.port}")
        assert type(told) is StoreUnavailable
        assert str(told) == "a server of the cluster did not answer at the address that the cluster tells"


async def test_a_cluster_is_reached_by_tls_and_its_url_is_not_one_of_a_single_server(
    tmp_path: Path, valkey: ValkeyServer
) -> None:
    certificate, key, port = tmp_path / "certificate.pem", tmp_path / "key.pem", free_port()
    write_certificate(certificate, key)
    with ValkeyClusterNode(announced=port) as node, tls_proxy.running(certificate, key, port, node.port):
        node.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        await asyncio.to_thread(wait_until, lambda: "cluster_state:ok" in node.ask("CLUSTER", "INFO"))
        url = f"rediss+cluster://:{PASSWORD}@{HERE}:{port}"
        store, id = opened(f"{url}?ssl_ca_certs={certificate}"), new_id()
        await store.put(id, b"some bytes")
        assert await store.get(id) == b"some bytes"
        await store.check()
        await store.close()
        assert str(await failure(url)) == "the server did not answer"  # it trusts nobody

        with ValkeyClusterNode() as other:  # which owns nothing, and knows who does
            other.ask("CLUSTER", "MEET", HERE, str(node.port), str(node.bus))
            await asyncio.to_thread(wait_until, lambda: "cluster_state:ok" in other.ask("CLUSTER", "INFO"))
            told = await failure(f"redis://:{PASSWORD}@{HERE}:{other.port}/0")
            assert (type(told), "the URL is of a single server" in str(told)) == (StoreRefused, True)
