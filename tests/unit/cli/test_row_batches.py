"""Calls for single rows that go together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from envelope_codec.cli.row_batches import RowBatches
from envelope_codec.errors import StoreRefused, StoreUnavailable
from envelope_codec.keystore import Kept, RowConflict
from envelope_codec.keystore_batch import MAX_BATCH
from envelope_codec.keystore_client import KeystoreClient
from envelope_codec.testing import FakeKeystore

KEYS = [bytes((number,)) * 32 for number in range(100)]


class Batching(FakeKeystore):
    """A keystore that takes several rows at once.

    Attributes:
        sizes: how many rows each call had.
        poison: rows for which every call fails.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.poison: set[bytes] = set()

    async def get(self, key: bytes) -> Kept | None:
        if key in self.poison:
            raise StoreRefused("of another kind", operation="get")
        return await super().get(key)

    async def get_each(self, keys: Sequence[bytes]) -> list[Kept | None]:
        self.sizes.append(len(keys))
        await asyncio.sleep(0)
        return [await self.get(key) for key in keys]

    async def replace_each(self, changes: Sequence[Kept]) -> list[str | None]:
        self.sizes.append(len(changes))
        assert len({change.key for change in changes}) == len(changes)
        return [await self._replaced(change) for change in changes]

    async def _replaced(self, change: Kept) -> str | None:
        try:
            return await self.put(*change)
        except RowConflict:
            return None


@pytest.fixture
def keystore() -> Batching:
    keystore = Batching()
    keystore.kept = {key: (key, "made") for key in KEYS}
    return keystore


@pytest.fixture
async def rows(keystore: Batching) -> AsyncIterator[RowBatches]:
    client = KeystoreClient(keystore)
    yield RowBatches(client)
    await client.aclose()


async def test_what_waits_goes_together(rows: RowBatches, keystore: Batching) -> None:
    assert await asyncio.gather(*map(rows.get, KEYS)) == [Kept(key, key, "made") for key in KEYS]
    assert len(keystore.sizes) < 5
    assert max(keystore.sizes) <= MAX_BATCH
    assert await rows.get(b"\xff" * 32) is None


async def test_each_writer_learns_how_its_own_row_ended(rows: RowBatches, keystore: Batching) -> None:
    puts = [rows.put(key, b"new", "made" if number % 2 else "other") for number, key in enumerate(KEYS)]
    ended = await asyncio.gather(*puts, return_exceptions=True)
    assert [isinstance(one, str) for one in ended] == [number % 2 == 1 for number in range(100)]
    assert {type(one) for one in ended} == {str, RowConflict}
    assert [keystore.kept[key][0] == b"new" for key in KEYS] == [number % 2 == 1 for number in range(100)]


async def test_of_two_writers_of_one_row_one_succeeds(rows: RowBatches, keystore: Batching) -> None:
    ended = await asyncio.gather(*(rows.put(KEYS[0], data, "made") for data in (b"a", b"b")), return_exceptions=True)
    assert sorted(type(one).__name__ for one in ended) == ["RowConflict", "str"]


async def test_one_rows_trouble_costs_the_others_nothing(rows: RowBatches, keystore: Batching) -> None:
    keystore.poison = {KEYS[3]}
    found = await asyncio.gather(*map(rows.get, KEYS[:10]), return_exceptions=True)
    assert [one.data for one in found if isinstance(one, Kept)] == [*KEYS[:3], *KEYS[4:10]]
    assert isinstance(found[3], StoreRefused)


async def test_an_outage_is_told_to_each(rows: RowBatches, keystore: Batching) -> None:
    keystore.down = True
    found = await asyncio.gather(*map(rows.get, KEYS[:3]), return_exceptions=True)
    assert [type(one) for one in found] == [StoreUnavailable] * 3
    keystore.down = False
    assert await rows.get(KEYS[0]) is not None


async def test_who_waits_no_longer_gets_nothing(rows: RowBatches) -> None:
    waiting = [asyncio.ensure_future(rows.get(key)) for key in KEYS[:5]]
    await asyncio.sleep(0)
    waiting[1].cancel()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[1], asyncio.CancelledError)
    assert sum(isinstance(one, Kept) for one in found) == 4


async def test_a_keystore_that_takes_one_row_at_a_time_is_asked_so() -> None:
    keystore = FakeKeystore()
    client = KeystoreClient(keystore)
    rows = RowBatches(client)
    revision = await rows.put(KEYS[0], b"new", None)
    assert await rows.put(KEYS[0], b"newer", revision)
    assert [kept.data async for kept in rows.rows()] == [b"newer"]
    found = await rows.get(KEYS[0])
    assert found is not None
    assert found.data == b"newer"
    await rows.check()
    await client.aclose()


async def test_who_asks_a_keystore_that_answers_too_little_is_answered_all_the_same(
    rows: RowBatches, keystore: Batching, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get_each(keys: Sequence[bytes]) -> list[Kept | None]:
        return [await keystore.get(key) for key in keys[1:]]

    monkeypatch.setattr(keystore, "get_each", get_each)
    asked = asyncio.gather(*map(rows.get, KEYS))
    assert await asyncio.wait_for(asked, 30) == [Kept(key, key, "made") for key in KEYS]
