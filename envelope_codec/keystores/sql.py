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
from envelope_codec.errors import StoreRefused
from envelope_codec.keystore import KEY_LENGTH, PROBE, Kept, conflict
from envelope_codec.keystore_role import Role, replace_nothing
from envelope_codec.keystore_row import MAX_ROW

_PAGE = 200
_PRIVILEGES = {
    Role.open: "SELECT",
    Role.seal: "SELECT, INSERT",
    Role.export: "SELECT",
    Role.rewrap: "SELECT, INSERT, UPDATE",
}


class SqlKeystore:
    """A `Keystore` in a table: ``postgresql+psycopg://USER@HOST/DATABASE?table=envelope_keystore``.

    ``table`` may have a schema before it. Everything else in the URL is SQLAlchemy's. If the URL names no driver, the
    driver is ``psycopg``, ``aiosqlite`` or ``asyncmy``. The keystore does not make the table: `ddl` has the statement.
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
        """Read, and put a row that is none and undo it. Raises if that is not possible."""
        await self.get(PROBE)
        await self.try_create()

    async def try_create(self) -> None:
        """Put the largest row twice, and undo it. The second must be refused."""
        key = os.urandom(KEY_LENGTH - 1)
        put = insert(self._table).values({"row_key": key, "data": bytes(MAX_ROW), "revision": "0" * 32})
        try:
            await self._database.rehearse([put, put])
        except Conflict:
            pass
        else:
            raise StoreRefused("the table has no primary key, or another one: make it as the ddl command prints it")
        if await self.get(key) is not None:
            raise StoreRefused("the table can't undo what is put: make it of an engine with transactions (InnoDB)")

    async def try_replace(self) -> None:
        """Update no row."""
        await replace_nothing(self)

    def grants(self, role: Role) -> str:
        """Return the statement that grants ``role`` what it needs."""
        if self._database.dialect.name == "sqlite":
            return "SQLite has no roles: the user of the process must be able to write to the file and its folder."
        table = self._database.dialect.identifier_preparer.format_table(self._table)
        return f"GRANT {_PRIVILEGES[role]} ON {table} TO envelope_{role.value};"

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
