"""Payloads in a table, in parts if they are large."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from envelope_codec import InvalidCiphertext, PayloadMissing, StoreRefused
from envelope_codec.storage.sql import SqlStore
from envelope_codec.store import TooLarge

ID = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqlStore]:
    monkeypatch.setattr("envelope_codec.storage.sql._PART", 10)
    made = SqlStore(f"sqlite:///{tmp_path}/a.db")
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.executescript(made.ddl)
    yield made
    await made.close()


@pytest.mark.parametrize("size", [0, 1, 10, 11, 30])
async def test_a_payload_comes_back_and_goes(store: SqlStore, size: int) -> None:
    data = bytes(range(size))
    for _ in range(2):  # again is no error
        await store.put(ID, data)
    assert await store.get(ID) == data
    assert [(one.id, one.size) async for one in store.list_before(2**40)] == [(ID, size)]
    await store.delete(ID)
    with pytest.raises(PayloadMissing):
        await store.get(ID)


async def test_parts_without_a_first_one_are_listed_and_deleted(store: SqlStore, tmp_path: Path) -> None:
    await store.put(ID, b"x" * 25)
    await store.put(OTHER, b"whole")
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("DELETE FROM envelope_payloads WHERE id = ?", (ID,))
    assert {one.id async for one in store.list_before(2**40)} == {ID, OTHER}
    await store.delete(ID)
    assert [one.id async for one in store.list_before(2**40)] == [OTHER]


async def test_a_constraint_that_is_not_the_ids_refuses(store: SqlStore, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.executescript(
            "CREATE TRIGGER t BEFORE INSERT ON envelope_payloads BEGIN SELECT RAISE(ABORT, 'hush'); END"
        )
    with pytest.raises(StoreRefused, match="constraint") as raised:
        await store.put(ID, b"x")
    assert "hush" not in str(raised.value)


async def test_parts_that_are_told_without_end_are_not_followed(store: SqlStore, tmp_path: Path) -> None:
    await store.put(ID, bytes(30))
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("UPDATE envelope_payloads SET parts = 1000000000 WHERE id = ?", (ID,))
    with pytest.raises(TooLarge):
        await store.get_within(ID, 100)
    with pytest.raises(PayloadMissing):  # the fourth part
        await store.get(ID)


async def test_a_later_part_that_is_too_large_is_told(store: SqlStore, tmp_path: Path) -> None:
    await store.put(ID, bytes(30))
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("UPDATE envelope_payloads SET data = zeroblob(12) WHERE id = ?", (f"{ID}.2",))
    with pytest.raises(TooLarge):
        await store.get_within(ID, 30)


async def test_a_text_in_place_of_bytes_is_no_payload(store: SqlStore, tmp_path: Path) -> None:
    """SQLite counts a text only up to its first NUL."""
    await store.put(ID, b"data")
    for text in ("a\0" + 100 * "b", "text", ""):
        with sqlite3.connect(tmp_path / "a.db") as connection:
            connection.execute("UPDATE envelope_payloads SET data = ? WHERE id = ?", (text, ID))
        with pytest.raises(InvalidCiphertext):
            await store.get_within(ID, 4)
