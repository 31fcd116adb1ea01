"""A keystore behind an event loop of its own: any caller may use it, and none can spoil it for others."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from envelope_codec.errors import ConfigurationError, StoreUnavailable
from envelope_codec.keystore import Kept, Keystore, KeystoreUrl, RowConflict, parse_keystore_url
from envelope_codec.keystore_client import KeystoreClient
from envelope_codec.keystore_sharing import make_slot
from envelope_codec.testing import FakeKeystore


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[KeystoreClient]:
    made = KeystoreClient(parse_keystore_url(f"file://{tmp_path}"))
    yield made
    await made.aclose()


class Silent:
    """A keystore that answers nothing until it is told to, and counts its calls."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.under_way = self.most = self.cancelled = 0
        self.loops = set[int]()

    async def get(self, key: bytes) -> Kept | None:
        self.loops.add(id(asyncio.get_running_loop()))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            while not self.answers.is_set():  # noqa: ASYNC110 - the test may be on another event loop
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        return None

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
        raise RowConflict("of another revision")

    async def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
        yield Kept(b"k", b"d", "r")

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        pass


async def test_rows_come_and_go_through_it(client: KeystoreClient) -> None:
    keys = sorted(os.urandom(32) for _ in range(5))
    for key in keys:
        await client.put(key, b"data", None)
    with pytest.raises(RowConflict):
        await client.put(keys[0], b"data", None)
    kept = await client.get(keys[0])
    assert kept is not None
    await client.put(keys[0], b"more", kept.revision)
    assert [kept.key async for kept in client.rows(keys[1])] == keys[2:]
    await client.check()


async def test_all_event_loops_use_one_keystore_and_so_many_calls_at_once() -> None:
    silent = Silent()
    silent.answers.set()
    client = KeystoreClient(silent)
    await asyncio.gather(*(client.get(b"") for _ in range(100)))
    await asyncio.to_thread(asyncio.run, client.get(b""))
    assert len(silent.loops) == 1
    assert silent.most <= 32
    await client.aclose()


async def test_no_answer_in_time_is_an_outage_and_ends_the_call() -> None:
    silent = Silent()
    client = KeystoreClient(silent, seconds=0.05)
    with pytest.raises(StoreUnavailable, match="did not answer") as caught:
        await client.get(b"")
    assert caught.value.operation == "get"
    while silent.cancelled < 1:  # noqa: ASYNC110 - cancelled on another event loop
        await asyncio.sleep(0)
    silent.answers.set()
    assert await client.get(b"") is None
    await client.aclose()


async def test_a_caller_that_is_cancelled_spoils_nothing() -> None:
    silent = Silent()
    client = KeystoreClient(silent)
    calls = [asyncio.ensure_future(client.get(b"")) for _ in range(100)]
    while silent.under_way < 32:  # noqa: ASYNC110 - counted on another event loop
        await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert all(call.cancelled() for call in calls)
    silent.answers.set()
    assert await client.get(b"") is None
    await client.aclose()


async def test_a_keystore_that_was_given_is_closed_by_whoever_made_it() -> None:
    keystore = FakeKeystore()
    client = KeystoreClient(keystore)
    await client.put(bytes(32), b"row", None)
    await client.aclose()
    assert keystore.closed == 0


async def test_closing_a_client_waits_for_the_connections() -> None:
    closed = []

    class Slow(FakeKeystore):
        async def close(self) -> None:
            await asyncio.sleep(0)
            closed.append(self)

    class Url(KeystoreUrl):
        def open(self) -> Keystore:
            return Slow()

    client = KeystoreClient(Url("memory://"))
    await client.get(bytes(32))
    await client.aclose()
    assert len(closed) == 1


async def test_a_listing_that_stops_answering_is_an_outage() -> None:
    class Stuck(FakeKeystore):
        async def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
            yield Kept(b"k", b"d", "r")
            await asyncio.Event().wait()

    client = KeystoreClient(Stuck(), seconds=0.05)
    rows = client.rows()
    assert await anext(rows) == Kept(b"k", b"d", "r")
    with pytest.raises(StoreUnavailable, match="did not answer"):
        await anext(rows)
    await client.aclose()


async def test_what_was_closed_does_not_answer(client: KeystoreClient) -> None:
    await client.aclose()
    await client.aclose()
    with pytest.raises(StoreUnavailable):
        await client.get(b"k" * 32)


def test_what_is_wrong_with_a_url_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match="keystore: "):
        KeystoreClient(parse_keystore_url("nothing://here"))


async def test_active_slots_are_not_among_the_rows() -> None:
    keystore = FakeKeystore()
    keystore.kept = {bytes([number]) * 32: (b"row", "1") for number in range(3)}
    keystore.kept[bytes([1]) * 32] = make_slot(bytes(32)), "1"
    client = KeystoreClient(keystore)
    assert [kept.key[0] async for kept in client.rows()] == [0, 2]
    await client.aclose()
