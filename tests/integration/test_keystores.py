"""What keystores do while their real servers are away, and in forked children."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest
import redis
from devstack import Server

from envelope_codec import EnvelopeConfig, StoreRefused, StoreUnavailable
from envelope_codec.envelope import Purpose
from envelope_codec.keys.draft import Draft
from envelope_codec.keystore import MOST_READ, Kept, parse_keystore_url
from envelope_codec.keystore_change import publish
from envelope_codec.keystore_client import KeystoreClient
from envelope_codec.keystore_row import MalformedRow, parse_row
from envelope_codec.testing import FakeKms
from tests.support.forked_child import Child
from tests.support.harness_keystores import KINDS, SERVED_BY, Keystores
from tests.support.harness_stores import DURABLE, NEEDLES, SERVED, aws_environment
from tests.support.peak_memory import measured

RunServer = Callable[[Server], AbstractContextManager[Any]]


@pytest.fixture(autouse=True)
def credentials() -> Iterator[None]:
    with aws_environment():
        yield


@pytest.mark.parametrize("kind", DURABLE)
async def test_a_keystore_whose_server_was_killed_is_as_it_was_once_it_is_back(
    kind: str, run_server: RunServer
) -> None:
    with run_server(SERVED[kind][0]()) as server:
        harness = SERVED_BY[kind](server)
        url = await harness.place()
        keystore, key = parse_keystore_url(url).open(), os.urandom(32)
        await asyncio.gather(*(keystore.put(os.urandom(32), b"others", None) for _ in range(20)))  # opens connections
        revision = await keystore.put(key, b"a row", None)
        os.killpg(server.pid, signal.SIGKILL)
        await asyncio.to_thread(server._process._popen.wait)
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: keystore.put(key, b"in vain", revision),
            lambda: keystore.get(key),
            lambda: anext(keystore.rows()),
            keystore.check,
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable) as caught:
                await call()
            assert [needle for needle in NEEDLES if needle in str(caught.value)] == []
        await asyncio.to_thread(server.restart)
        while True:
            try:
                assert await keystore.get(key) == Kept(key, b"a row", revision)
                break
            except StoreUnavailable:  # a connection from before: one each
                await asyncio.sleep(0)
        assert len([kept async for kept in keystore.rows()]) == 21
        await keystore.close()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in ("file", "sqlite", "postgresql", "mariadb", "s3")])
async def test_of_what_is_longer_than_any_row_no_more_is_read_than_shows_that(kind: str, keystores: Keystores) -> None:
    keystore: Any = parse_keystore_url(await keystores[kind].place()).open()
    key, most = os.urandom(32), 65_536
    revision = await keystore.put(key, bytes(16 * most - 1), None)
    kept = await keystore.get(key)
    assert kept.data == bytes(most + 1)
    assert kept.revision == revision or kind == "file"  # whose revision is a digest of what is read
    assert [len(kept.data) async for kept in keystore.rows()] == [most + 1]
    await keystore.close()


WRONG_SHAPES = {
    "no primary key": ("row_key {key}, data {data}, revision VARCHAR(32)", "no primary key"),
    "another primary key": ("row_key {key}, data {data}, revision VARCHAR(32) PRIMARY KEY", "no primary key"),
    "a column more": (
        "row_key {key} PRIMARY KEY, data {data}, revision VARCHAR(32), more INT NOT NULL",
        "constraint|other",
    ),
    "a column too small": ("row_key {key} PRIMARY KEY, data {data}, revision VARCHAR(3)", "bytes"),
    "columns of other types": ("row_key INT PRIMARY KEY, data INT, revision INT", "other|refused"),
}
TYPES = {"postgresql": ("BYTEA", "BYTEA"), "mariadb": ("VARBINARY(32)", "MEDIUMBLOB")}


@pytest.mark.parametrize("shape", WRONG_SHAPES)
@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind in SERVED])
async def test_a_table_of_another_shape_is_told_and_nothing_is_left_in_it(
    kind: str, shape: str, keystores: Keystores
) -> None:
    harness: Any = keystores[kind]
    (columns, said), (key, data) = WRONG_SHAPES[shape], TYPES[kind]
    name = f"shaped_{os.urandom(4).hex()}"
    await harness.execute(f"CREATE TABLE {name} ({columns.format(key=key, data=data)})")
    keystore: Any = parse_keystore_url(harness._url(table=name)).open()
    with pytest.raises(StoreRefused, match=said):
        await keystore.check()
    assert [list(row) for row in await harness.execute(f"SELECT count(*) FROM {name}")] == [[0]]
    await keystore.close()


@pytest.mark.parametrize("kind", KINDS)
def test_parent_and_children_use_a_keystore_at_once_and_each_gets_its_own(kind: str, keystores: Keystores) -> None:
    url = asyncio.run(keystores[kind].place())
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.keystores_forked", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
async def test_a_keyring_publishes_and_opens_in_a_forked_child_too(kind: str, keystores: Keystores) -> None:
    url, old, new = await keystores[kind].place(), FakeKms("fakekms://old"), FakeKms("fakekms://new")
    keyring = EnvelopeConfig(key=new, keystore=url).keyring()
    first = await keyring.sealing_key("default")
    draft = Draft(Purpose.WRAPPING_KEY, 1_700_000_000, {"temporal-namespace": "default"})
    moved, again = draft.wrap_by(old), draft.wrap_by(new)
    row = replace(publish(moved), verified=(*moved.recipients, *again.recipients))
    client = KeystoreClient(parse_keystore_url(url))
    await client.put(row.key, row.serialize(), None)

    def work() -> tuple[bytes, bytes]:
        async def use() -> tuple[bytes, bytes]:
            own = await keyring.sealing_key("default")
            return own.record.id, await keyring.opening_key(moved)

        return asyncio.run(use())

    child = Child(work)
    assert await keyring.opening_key(moved) == draft.key
    published, opened = await asyncio.to_thread(child.result)
    assert opened == draft.key
    ids = {parse_row(kept.key, kept.data).id async for kept in client.rows()}
    assert ids == {first.record.id, published, moved.id}
    assert len(ids) == 3
    await client.aclose()
    keyring.close()


@pytest.mark.parametrize("kind", ["redis", "sqlite", "file", "mongodb"])
async def test_what_somebody_put_in_a_rows_place_is_not_read(kind: str, keystores: Keystores) -> None:
    harness: Any = keystores[kind]
    url = await harness.place()
    keystore, key, other = parse_keystore_url(url).open(), b"\1" * 32, b"\2" * 32
    await keystore.put(key, b"a row", None)
    await keystore.put(other, b"another", None)
    size = (15 if kind == "mongodb" else 48) * 2**20
    await harness.overwrite_row(url, key, bytes(size))
    with measured() as growth:
        kept = await keystore.get(key)
        rows = [row async for row in keystore.rows()]
    assert kept is not None
    assert [row.key for row in rows] == [key, other]
    assert rows[1].data == b"another"
    for row in (kept, rows[0]):
        assert len(row.data) == MOST_READ
        with pytest.raises(MalformedRow):
            parse_row(row.key, row.data)
    if kind != "mongodb":  # whose documents have 16 MiB at most
        assert growth.bytes < 16 * 2**20
    await keystore.close()


async def test_a_listing_leaves_out_no_row_that_the_server_refuses(
    run_server: RunServer, caplog: pytest.LogCaptureFixture
) -> None:
    with run_server(SERVED["redis"][0]()) as server:
        url = await SERVED_BY["redis"](server).place()
        keystore, keys = parse_keystore_url(url).open(), [bytes([number]) * 32 for number in range(3)]
        for key in keys:
            await keystore.put(key, b"a row", None)
        commands = ["+@connection", "+scan", "+hmget"]
        where, prefix = url.partition("//")[2], keys[0].hex()
        with redis.Redis.from_url(url.partition("?")[0]) as client:
            client.execute_command("ACL", "SETUSER", "half", "on", ">sesame", f"%R~*{prefix}", "-@all", *commands)
        refused = parse_keystore_url(f"redis://half:sesame@{where}").open()
        assert await refused.get(keys[0]) is not None
        assert caplog.text.count("grant HSTRLEN") == 1  # earlier releases did not need it
        with pytest.raises(StoreRefused, match="permission"):
            print([kept async for kept in refused.rows()])
        for one in (keystore, refused):
            await one.close()
