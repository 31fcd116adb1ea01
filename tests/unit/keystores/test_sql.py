"""Keystores in SQLite: what anybody left in the table."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from envelope_codec.keystore import MOST_READ, Kept
from envelope_codec.keystores.sql import SqlKeystore


async def test_a_text_among_the_rows_ends_no_listing(tmp_path: Path) -> None:
    keystore = SqlKeystore(f"sqlite+aiosqlite:///{tmp_path}/rows.db")
    text, row = bytes(32), bytes([1]) * 32
    with closing(sqlite3.connect(tmp_path / "rows.db")) as database:
        database.executescript(keystore.ddl)
        database.execute("INSERT INTO envelope_keystore VALUES (?, 'no bytes', 'r')", (text,))
        database.commit()
    revision = await keystore.put(row, b"\x00\xff", None)
    kept = Kept(text, bytes(MOST_READ), "r"), Kept(row, b"\x00\xff", revision)
    assert [one async for one in keystore.rows()] == [*kept]
    assert (await keystore.get(text), await keystore.get(row)) == kept
    assert await keystore.get_each([text, row]) == [*kept]
    await keystore.close()
