"""A keystore in PostgreSQL, SQLite, MariaDB or MySQL."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from sqlalchemy import Column, LargeBinary, MetaData, String, Table, insert, select, update
from sqlalchemy.dialects import mysql

from envelope_codec._frames import frameless
from envelope_codec.datastore.sql_database import Conflict, Database
from envelope_codec.datastore.sql_ddl import render_ddl, split_name
from envelope_codec.datastore.sql_engine import parse_url
from envelope_codec.datastore.sql_meanings import CONSTRAINT
from envelope_codec.keystore import KEY_LENGTH, Kept, conflict, try_out

_PAGE = 200


class SqlKeystore:
    """A `Keystore` in a table: ``postgresql+psycopg://USER@HOST/DATABASE?table=envelope_keystore``.

    ``table`` may have a schema before it. Everything else in the URL is SQLAlchemy's. If the URL names no driver, the
    driver is ``psycopg``, ``aiosqlite`` or ``asyncmy``. The keystore does not make the table: `ddl` has the statement.
    A worker's role needs SELECT, INSERT and UPDATE.
    """

    @frameless
    def __init__(self, url: str) -> None:
        parsed = parse_url(url, "keystore")
        self._table = _make_table(parsed.query.get("table", "envelope_keystore"))
        self._database = Database(parsed.difference_update_query(["table"]), "keystore")

    @property
    def ddl(self) -> str:
        """The statement that makes the table."""
        return render_ddl(self._table, self._database.dialect)

    async def get(self, key: bytes) -> Kept | None:
        """Return what is kept under ``key``, if anything is."""
        table = self._table.c
        rows = await self._database.run("get", select(table.data, table.revision).where(table.row_key == key))
        return Kept(key, bytes(rows[0][0]), str(rows[0][1])) if rows else None

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
        """Keep ``data`` under ``key`` if what is there has this revision. Raises `RowConflict` if it has not."""
        fresh = os.urandom(16).hex()
        values = {"data": data, "revision": fresh}
        if revision is None:
            await self._insert({"row_key": key, **values})
            return fresh
        table = self._table.c
        change = update(self._table).where(table.row_key == key, table.revision == revision).values(values)
        try:
            changed = await self._database.run("put", change)
        except Conflict:
            raise CONSTRAINT.error("put") from None
        if changed != 1:
            raise conflict()
        return fresh

    async def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
        """Yield all rows whose key is greater than ``after``."""
        table = self._table.c
        while True:
            page = select(table.row_key, table.data, table.revision).where(table.row_key > after)
            rows = await self._database.run("list", page.order_by(table.row_key).limit(_PAGE))
            for key, data, revision in rows:
                if len(key) == KEY_LENGTH:
                    yield Kept(bytes(key), bytes(data), str(revision))
            if len(rows) < _PAGE:
                return
            after = bytes(rows[-1][0])

    async def check(self) -> None:
        """Put a row that is none. Raises if that is not possible."""
        await try_out(self)

    async def close(self) -> None:
        """Release the connections."""
        await self._database.close()

    async def _insert(self, row: dict[str, object]) -> None:
        try:
            await self._database.run("put", insert(self._table).values(row))
        except Conflict:
            found = await self._database.run(
                "put", select(self._table.c.revision).where(self._table.c.row_key == row["row_key"])
            )
            raise (conflict() if found else CONSTRAINT.error("put")) from None


def _make_table(name: object) -> Table:
    schema, name = split_name(name, "keystore")
    key = LargeBinary().with_variant(mysql.VARBINARY(KEY_LENGTH), "mysql", "mariadb")
    data = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")  # a BLOB has 65,535 bytes, one too few
    return Table(
        name,
        MetaData(),
        Column("row_key", key, primary_key=True, comment="32 bytes"),
        Column("data", data, nullable=False, comment="a wrapped key, as SPEC.md has it"),
        Column("revision", String(32), nullable=False, comment="random, new at each change"),
        schema=schema,
    )
