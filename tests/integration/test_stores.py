"""What stores do for the driver, and what single stores have to themselves, against their real servers."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from devstack import Server, ValkeyServer
from temporalio.api.common.v1 import Payload
from temporalio.contrib.aws.s3driver import S3StorageDriver
from temporalio.converter import StorageDriverClaim, StorageDriverRetrieveContext, StorageDriverStoreContext

from envelope_codec import (
    EnvelopeConfig,
    EnvelopeError,
    InvalidCiphertext,
    MalformedEnvelope,
    PayloadMissing,
    StoreRefused,
    StoreUnavailable,
)
from envelope_codec.datastore.s3_client import Boto3Client
from envelope_codec.storage import driver as driver_module
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.storage.pool import Pool
from envelope_codec.store import PayloadStore, TooLarge, get_within, parse_store_url
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms
from tests.support.harness_stores import (
    DURABLE,
    KINDS,
    NEEDLES,
    S3,
    SERVED,
    SQL_SAYS,
    Harness,
    Sql,
    Sqlite,
    Stores,
    Valkey,
    aws_environment,
    listed,
    new_id,
    opened,
)
from tests.support.kms_proxy import KmsProxy
from tests.support.peak_memory import measured
from tests.support.s3_replies import S3Replies

RunServer = Callable[[Server], AbstractContextManager[Any]]

STORING = StorageDriverStoreContext()
READING = StorageDriverRetrieveContext()


@pytest.fixture(autouse=True)
def credentials() -> Iterator[None]:
    with aws_environment():
        yield


@pytest.fixture(params=KINDS)
def harness(request: pytest.FixtureRequest, stores: Stores) -> Harness:
    return stores[request.param]


@pytest.fixture
async def url(harness: Harness) -> str:
    return await harness.place()


def driver_of(url: str, **settings: Any) -> EnvelopeDriver:
    return EnvelopeDriver(Pool(parse_store_url(url)), EnvelopeCodec(EnvelopeConfig(key=FakeKms(), **settings)))


async def sealed(driver: EnvelopeDriver, *data: bytes) -> list[Payload]:
    return await driver.codec.encode([Payload(data=one) for one in data])


def assert_tells_nothing(error: BaseException) -> None:
    """Neither its text nor what a traceback shows of it and its causes holds anything of a URL."""
    told = "".join(traceback.format_exception(error)) + repr(error)
    # Names and lines of source code are in it too; values are not.
    texts = [line for line in told.splitlines() if not line.startswith("    ") and "File " not in line]
    assert [needle for needle in NEEDLES if any(needle in line for line in texts)] == [], told


async def assert_all_raise(kind: type[EnvelopeError], said: str, store: PayloadStore) -> None:
    """All that a store can do ends with this error."""
    id = new_id()
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: store.put(id, b"some bytes"),
        lambda: store.get(id),
        lambda: store.delete(id),
        lambda: listed(store),
        lambda: store.check(),
    ]
    for call in calls:
        with pytest.raises(kind, match=said) as caught:
            await call()
        assert_tells_nothing(caught.value)


# --- what it keeps ----------------------------------------------------------------------------------------------------


async def test_hundreds_at_once_in_two_event_loops(url: str) -> None:
    driver = driver_of(url)
    payloads = await sealed(driver, *(os.urandom(100) for _ in range(250)))
    failures: list[BaseException] = []

    async def use() -> None:
        claims = await driver.store(STORING, payloads)
        assert await driver.retrieve(READING, claims) == payloads
        await driver.pool.aclose()

    def run() -> None:
        try:
            asyncio.run(use())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert failures == []


async def test_garbage_in_place_of_a_payload_is_told(harness: Harness, url: str) -> None:
    driver = driver_of(url)
    [claim] = await driver.store(STORING, await sealed(driver, b"a text"))
    [kept] = await listed(driver.pool.open_here().store)
    for garbage in (b"garbage that is longer than any head", b"short", b""):
        await harness.overwrite(url, kept.id, garbage)
        if not garbage and harness.name == "redis":  # where even an empty payload has a head
            with pytest.raises(PayloadMissing):
                await driver.retrieve(READING, [claim])
            continue
        with pytest.raises(InvalidCiphertext, match="other bytes than were stored"):
            await driver.retrieve(READING, [claim])
    await driver.pool.aclose()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mongodb"])  # whose documents have 16 MiB at most
async def test_no_memory_is_taken_by_what_somebody_put_in_a_payloads_place(kind: str, stores: Stores) -> None:
    url = await stores[kind].place()
    driver = driver_of(url)
    [claim] = await driver.store(STORING, await sealed(driver, b"a text"))
    [kept] = await listed(driver.pool.open_here().store)
    size = (14 if kind == "mariadb" else 48) * 2**20  # which takes no statement of 16 MiB
    await stores[kind].overwrite(url, kept.id, bytes(size))
    with measured() as growth, pytest.raises(TooLarge):
        await driver.retrieve(READING, [claim])
    assert growth.bytes < size / 2
    await driver.pool.aclose()


async def test_parts_that_are_told_without_end_are_not_followed(stores: Stores) -> None:
    mongodb: Any = stores["mongodb"]
    url = await mongodb.place()
    store, id = opened(url), new_id()
    await store.put(id, bytes(5 * 2**20))
    with mongodb._client() as client:
        mongodb._collection(client, url).update_one({"_id": id}, {"$set": {"parts": 2**31 - 1}})
    with pytest.raises(TooLarge):
        await get_within(store, id, 4 * 2**20)
    with pytest.raises(PayloadMissing):
        await get_within(store, id, 2**31 - 1)
    await store.close()


async def test_users_of_redis_whom_an_earlier_release_needed_are_served(
    stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    harness: Any = stores["redis"]
    url = await harness.place()
    with harness._client() as client:
        allowed = ("-@all", "+@connection", "+set", "+setrange", "+get")
        client.execute_command("ACL", "SETUSER", "earlier", "on", ">sesame", "~*", *allowed)
    store, id = opened(url.replace("redis://", "redis://earlier:sesame@")), new_id()
    await store.put(id, b"some bytes")
    for _ in range(2):
        assert await get_within(store, id, 10) == b"some bytes"
        with pytest.raises(TooLarge):
            await get_within(store, id, 9)
    with pytest.raises(PayloadMissing):
        await store.get(new_id())
    assert caplog.text.count("grant GETRANGE") == 1
    await store.close()


# --- what can go wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in ("postgresql", "mariadb")])
async def test_what_passes_in_a_sql_database_is_told_and_asked_again(kind: str, stores: Stores) -> None:
    harness = stores[kind]
    assert isinstance(harness, Sql)
    for what, url in (await harness.passing()).items():
        store = opened(url)
        for _ in range(3):
            with pytest.raises(StoreUnavailable) as caught:
                await store.get(new_id())
        assert SQL_SAYS[what] in str(caught.value)
        assert_tells_nothing(caught.value)
        await store.close()


@pytest.mark.parametrize("harness", list(SERVED), indirect=True)
async def test_a_server_that_does_not_answer_is_asked_again(
    harness: Harness, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More calls than there are connections are given up, and the store works again afterwards."""
    assert harness.server is not None
    monkeypatch.setattr(driver_module, "_CALL_SECONDS", 0.3)
    driver = driver_of(url, timeout=60)
    payloads = await sealed(driver, *(b"some text" for _ in range(80)))
    before = await driver.store(STORING, payloads[:40])
    harness.server.pause()
    try:
        impatient = EnvelopeDriver(driver.pool, EnvelopeCodec(EnvelopeConfig(key=FakeKms(), timeout=0.5)))
        with pytest.raises(StoreUnavailable) as caught:
            await impatient.store(STORING, await sealed(impatient, b"in vain"))
        assert_tells_nothing(caught.value)
        storing = asyncio.ensure_future(driver.store(STORING, payloads[40:]))
        reading = asyncio.ensure_future(driver.retrieve(READING, before))
        await asyncio.wait([storing, reading], timeout=1)
        assert not storing.done()
        assert not reading.done()
    finally:
        harness.server.resume()
    assert await reading == payloads[:40]
    assert await driver.retrieve(READING, await storing) == payloads[40:]
    await driver.pool.aclose()


@pytest.mark.parametrize("kind", DURABLE)
async def test_a_server_that_was_killed_is_asked_again(kind: str, run_server: RunServer) -> None:
    server_type, harness_type = SERVED[kind]
    with run_server(server_type()) as server:
        harness = harness_type(server)
        url = await harness.place()
        store, id = opened(url), new_id()
        await asyncio.gather(*(store.put(new_id(), b"others") for _ in range(20)))  # opens connections
        await store.put(id, b"some bytes")
        os.killpg(server.pid, signal.SIGKILL)
        await asyncio.to_thread(server._process._popen.wait)
        said = "did not answer|is starting, stopping|nothing listens"  # a killed PostgreSQL may have a last word
        await assert_all_raise(StoreUnavailable, said, store)
        driver = driver_of(url, timeout=100)
        storing = asyncio.ensure_future(driver.store(STORING, await sealed(driver, b"meanwhile")))
        await asyncio.to_thread(server.restart)
        assert len(await storing) == 1
        while True:
            try:
                assert await store.get(id) == b"some bytes"
                break
            except StoreUnavailable:  # a connection from before: one each
                await asyncio.sleep(0)
        assert len(await listed(store)) == 22
        await store.close()
        await driver.pool.aclose()


async def test_a_bucket_that_went_away_is_asked_again(stores: Stores) -> None:
    s3 = stores["s3"]
    url = await s3.place()
    assert isinstance(s3, S3)
    with KmsProxy(s3.server.endpoint.removeprefix("http://")).running() as proxy:
        store, id = opened(url.replace(s3.server.endpoint, f"http://{proxy.address}")), new_id()
        await store.put(id, b"some bytes")
        proxy.cut = True
        await assert_all_raise(StoreUnavailable, "did not answer", store)
        proxy.cut = False
        assert await store.get(id) == b"some bytes"
        await store.close()


async def test_a_file_that_another_process_locks_is_asked_again(stores: Stores) -> None:
    url = await stores["sqlite"].place()
    store = opened(f"{url}&timeout=0.1")
    path = parse_store_url(url).url.partition(":///")[2].partition("?")[0]
    locking = sqlite3.connect(path, isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    id = new_id()
    with pytest.raises(StoreUnavailable):
        await store.put(id, b"some bytes")
    locking.execute("ROLLBACK")
    await store.put(id, b"some bytes")
    assert await store.get(id) == b"some bytes"
    locking.close()
    await store.close()


async def test_what_a_driver_can_not_connect_with_is_told_at_once(stores: Stores) -> None:
    wrong = {
        "postgresql": ["color=red", "sslmode=never", "connect_timeout=soon", "port=99999", f"host={'a' * 70}"],
        "mariadb": ["color=red"],
    }
    for kind in [kind for kind in KINDS if kind in wrong]:
        url = await stores[kind].place()
        for option in wrong[kind]:
            store = opened(f"{url}&{option}")
            for call in (partial(store.put, new_id(), b"some bytes"), store.check):
                with pytest.raises(StoreRefused) as caught:
                    await call()
                assert_tells_nothing(caught.value)
            await store.close()


# --- what single stores have to themselves ----------------------------------------------------------------------------


async def test_a_file_is_named_when_all_of_it_is_on_the_disk(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    url = await stores["file"].place()
    store, id, folder = opened(url), new_id(), Path(unquote(urlsplit(url).path))
    synced, fsync = set[int](), os.fsync

    def sync(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreRefused, match="full"):
        await store.put(id, b"some bytes")
    assert [path for path in folder.rglob("*") if path.is_file()] == []  # noqa: ASYNC240
    monkeypatch.setattr(os, "fsync", sync)
    await store.put(id, b"some bytes")
    [path] = [path for path in folder.rglob("*") if path.is_file()]  # noqa: ASYNC240
    assert {path.stat().st_ino, path.parent.stat().st_ino} <= synced
    assert path.stat().st_mode & 0o777 == 0o600


S3_SAYS: list[tuple[int, str, type[EnvelopeError], str]] = [
    (301, "PermanentRedirect", StoreRefused, r"another region: give \?region="),
    (400, "AuthorizationHeaderMalformed", StoreRefused, r"another region: give \?region="),
    (403, "AccessDenied", StoreRefused, "permission is missing"),
    (403, "SignatureDoesNotMatch", StoreUnavailable, "did not take the credentials"),
    (403, "InvalidAccessKeyId", StoreUnavailable, "did not take the credentials"),
    (400, "InvalidToken", StoreUnavailable, "did not take the credentials"),
    (404, "NoSuchBucket", StoreRefused, "the bucket does not exist"),
    (400, "EntityTooLarge", StoreRefused, "the log has its code"),
    (400, "ExpiredToken", StoreUnavailable, "did not take the credentials"),
    (403, "RequestTimeTooSkewed", StoreUnavailable, "did not take the credentials"),
    (501, "NotImplemented", StoreRefused, "does not do what was asked for"),
    (400, "XAmzContentSHA256Mismatch", StoreRefused, "does not take the checksums"),
    (400, "InvalidDigest", StoreRefused, "does not take the checksums"),
    (411, "MissingContentLength", StoreRefused, "does not take the checksums"),
    (507, "XMinioStorageFull", StoreRefused, "full"),
    (503, "SlowDown", StoreUnavailable, "did not answer"),
    (500, "InternalError", StoreUnavailable, "did not answer"),
    (599, "Unheard", StoreUnavailable, "did not answer"),
]


async def test_what_s3_says_is_understood(caplog: pytest.LogCaptureFixture) -> None:
    with S3Replies().running() as replies:
        store = opened(f"s3://astray/payloads?endpoint={replies.endpoint}&region=us-east-1&addressing=path")
        for replies.status, replies.code, expected, said in S3_SAYS:
            await assert_all_raise(expected, said, store)
        await store.close()
    assert "S3 refused a put: code 'EntityTooLarge'" in caplog.text
    assert [needle for needle in NEEDLES if needle in caplog.text] == []


async def test_a_server_that_does_not_take_checksums_is_told_as_that_and_gets_none() -> None:
    with S3Replies().running() as replies:
        store = opened(f"s3://astray/payloads?endpoint={replies.endpoint}&region=us-east-1&addressing=path")
        replies.status, replies.code = 400, "InvalidArgument"
        replies.message = "Unsupported header x-amz-sdk-checksum-algorithm"
        await assert_all_raise(StoreRefused, "does not take the checksums", store)
        await store.close()
    assert replies.requests
    assert [name for request in replies.requests for name in request if "checksum" in name or "trailer" in name] == []


async def test_a_prefix_may_have_any_characters(stores: Stores) -> None:
    s3 = stores["s3"]
    assert isinstance(s3, S3)
    for prefix in ("", "a+b%20c", "p%C3%A4y%2525/(%27*!)"):
        store, id = opened(f"s3://{s3.bucket}/{prefix}?{s3.options}"), new_id()
        await store.put(id, b"some bytes")
        assert await store.get(id) == b"some bytes"
        assert id in {kept.id for kept in await listed(store)}
        await store.delete(id)
        await store.close()


async def test_without_aws_credentials_it_is_said_so_and_asked_again() -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("AWS_ACCESS_KEY_ID")
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        store = opened("s3://astray/payloads?endpoint=http://127.0.0.1:9&region=us-east-1")
        with pytest.raises(StoreUnavailable, match="no AWS credentials"):
            await store.get(new_id())
        await store.close()


async def test_what_the_sdks_own_s3_driver_stored_is_read(stores: Stores) -> None:
    s3 = stores["s3"]
    assert isinstance(s3, S3)
    driver = driver_of(f"s3://{s3.bucket}?{s3.options}&name=aws.s3driver")
    assert driver.name() == S3StorageDriver(Boto3Client(s3.client()), bucket=s3.bucket).name()
    client = Boto3Client(s3.client())
    payloads = await sealed(driver, b"a text", b"another")
    claims = await S3StorageDriver(client, bucket=s3.bucket).store(STORING, payloads)
    assert await driver.retrieve(READING, claims) == payloads
    assert await S3StorageDriver(client, bucket=s3.bucket).store(STORING, payloads) == claims  # they are there already

    good = dict(claims[0].claim_data)
    for change in ({"bucket": "another"}, {"hash_algorithm": "md5"}):
        with pytest.raises(MalformedEnvelope):
            await driver.retrieve(READING, [StorageDriverClaim({**good, **change})])
    with pytest.raises(InvalidCiphertext):
        await driver.retrieve(READING, [StorageDriverClaim({**good, "hash_value": "0" * 64})])
    with pytest.raises(PayloadMissing):
        await driver.retrieve(READING, [StorageDriverClaim({**good, "key": "v0/gone"})])
    client.close()
    await driver.pool.aclose()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in ("sqlite", "postgresql", "mariadb")])
async def test_a_constraint_of_the_users_own_loses_nothing_silently(kind: str, stores: Stores) -> None:
    harness: Any = stores[kind]
    url = await harness.place()
    table = harness._table(url)
    if kind == "sqlite":
        await harness.execute(
            f"CREATE TRIGGER small BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'constraint') ; END"
        )
    else:
        await harness.execute(f"ALTER TABLE {table} ADD CHECK (length(data) < 5)")
    store = opened(url)
    with pytest.raises(StoreRefused):
        await store.put(new_id(), b"too many bytes")
    await store.close()


async def test_a_database_that_takes_no_writes_is_asked_again(stores: Stores) -> None:
    """A replica, or what was the primary until a moment ago; permission missing is another matter."""
    postgresql: Any = stores["postgresql"]
    url = await postgresql.place()
    store = opened(f"{url}&options=-c%20default_transaction_read_only%3Don")
    with pytest.raises(StoreUnavailable, match="takes no writes"):
        await store.put(new_id(), b"some bytes")
    with pytest.raises(PayloadMissing):
        await store.get(new_id())
    await store.close()


async def test_redis_that_takes_no_writes_is_asked_again(run_server: RunServer) -> None:
    with run_server(ValkeyServer()) as server:
        harness = Valkey(server)
        store = opened(await harness.place())
        with harness._client() as client:
            client.replicaof("127.0.0.1", 9)
            with pytest.raises(StoreUnavailable, match="takes no writes"):
                await store.put(new_id(), b"some bytes")
            client.replicaof("NO", "ONE")
            await store.put(new_id(), b"some bytes")

            client.config_set("maxmemory-policy", "allkeys-lru")
            with pytest.raises(StoreRefused, match="evicts keys"):
                await store.check()
            client.config_set("maxmemory-policy", "volatile-lru")
            await store.check()

            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "1mb")
            with pytest.raises(StoreRefused, match="out of memory"):
                await store.put(new_id(), b"x" * 2**20)
        await store.close()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in ("mongodb", "sqlite", "postgresql", "mariadb")])
async def test_parts_whose_first_is_missing_are_listed_and_deleted(kind: str, stores: Stores) -> None:
    """Writing them was cut short: no reference leads there, and they must not stay for ever."""
    harness: Any = stores[kind]
    url = await harness.place()
    store, id, other = opened(url), new_id(), new_id()
    await store.put(id, os.urandom(5 * 2**20))
    await store.put(other, os.urandom(5 * 2**20))
    assert sorted((kept.id, kept.size) for kept in await listed(store)) == sorted(
        (one, 5 * 2**20) for one in (id, other)
    )
    assert await harness.count(url) == 6
    await harness.take_away(url, id)
    with pytest.raises(PayloadMissing):
        await store.get(id)
    assert {kept.id for kept in await listed(store)} == {id, other}
    await store.delete(id)
    assert await harness.count(url) == 3
    await store.delete(other)
    assert await harness.count(url) == 0
    await store.close()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in ("mongodb", "sqlite", "postgresql", "mariadb")])
@pytest.mark.parametrize("written", [1, 2])
async def test_a_payload_that_is_half_written_is_not_there(
    kind: str, written: int, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Any = opened(await stores[kind].place())
    id, data, parts = new_id(), os.urandom(5 * 2**20), 0
    runs = "_run" if hasattr(store, "_run") else "_call"
    do = getattr(store, runs)

    async def cut_short(operation: str, work: Any) -> Any:
        nonlocal parts
        parts += 1
        if parts > written:
            if asyncio.iscoroutine(work):
                work.close()
            raise StoreUnavailable("cut short")
        return await do(operation, work)

    monkeypatch.setattr(store, runs, cut_short)
    with pytest.raises(StoreUnavailable):
        await store.put(id, data)
    monkeypatch.undo()
    with pytest.raises(PayloadMissing):
        await store.get(id)
    assert [kept.id for kept in await listed(store)] == [id]
    await store.put(id, data)  # as who stores does
    assert await store.get(id) == data
    await store.close()


def test_an_event_loop_that_ends_when_the_pool_was_closed_is_quiet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As after ``with EnvelopePlugin(…)`` in what `asyncio.run` runs: it cancels all that it finds."""
    url = asyncio.run(Sqlite(tmp_path).place())

    async def use(steps: int) -> None:
        driver = driver_of(url)
        await driver.store(STORING, await sealed(driver, b"a text", b"another"))
        driver.pool.close()
        for _ in range(steps):
            await asyncio.sleep(0)

    for steps in range(10):
        asyncio.run(use(steps))
    assert caplog.text == ""


async def test_a_process_that_closes_nothing_ends_without_a_word(stores: Stores) -> None:
    """Neither do connections hold it up, nor do they complain."""
    urls = [await stores[kind].place() for kind in KINDS]
    command = [sys.executable, "-W", "error::ResourceWarning", "-m", "tests.support.stores_left_open", *urls]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (0, "stored\n", "")
