"""A keystore in PostgreSQL, SQLite, MariaDB or MySQL."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    LargeBinary,
    MetaData,
    String,
    Table,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import mysql

from envelope_codec._frames import frameless
from envelope_codec.datastore.sql_database import Conflict, Database
from envelope_codec.datastore.sql_ddl import render_ddl, split_name
from envelope_codec.datastore.sql_engine import parse_url
from envelope_codec.datastore.sql_meanings import CONSTRAINT
from envelope_codec.errors import StoreRefused
from envelope_codec.keystore import KEY_LENGTH, MOST_READ, PROBE, Kept, conflict
from envelope_codec.keystore_role import Role, replace_nothing
from envelope_codec.keystore_row import MAX_ROW

_PAGE = 200
_PRIVILEGES = {
    Role.open: "SELECT",
    Role.seal: "SELECT, INSERT",
    Role.share: "SELECT, INSERT, UPDATE",
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
        data = self._table.c.data
        self._data: Any = func.substr(data, 1, MOST_READ, type_=LargeBinary())
        if parsed.get_backend_name() == "sqlite":
            # It works in this process, and substr would read all. It also keeps a text in a column of bytes, if anybody
            # puts one there. Neither is a row, nor ends a listing: zeros stand for it, more than a row has.
            fits = and_(func.typeof(data) == "blob", func.length(data) <= MAX_ROW)
            self._data = case((fits, data), else_=func.zeroblob(MOST_READ, type_=LargeBinary()))
        self._database = Database(parsed.difference_update_query(["table"]), "keystore")
        self._statements: dict[int, Any] = {}

    @property
    def ddl(self) -> str:
        """The statement that makes the table."""
        return render_ddl(self._table, self._database.dialect)

    async def get(self, key: bytes) -> Kept | None:
        """Return what is kept under ``key``, if anything is."""
        table = self._table.c
        rows = await self._database.run("get", select(self._data, table.revision).where(table.row_key == key))
        return Kept(key, _read(rows[0][0]), str(rows[0][1])) if rows else None

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

    async def get_each(self, keys: Sequence[bytes]) -> list[Kept | None]:
        """Do as `Batches.get_each` says, in one statement."""
        table = self._table.c
        statement = select(table.row_key, self._data, table.revision).where(table.row_key.in_(keys))
        rows = await self._database.run("get", statement)
        found = {bytes(key): Kept(bytes(key), _read(data), str(revision)) for key, data, revision in rows}
        return [found.get(key) for key in keys]

    async def replace_each(self, changes: Sequence[Kept]) -> list[str | None]:
        """Do as `Batches.replace_each` says, in one statement: it commits as a whole, and locks rows in one order."""
        fresh = {change.key: os.urandom(16).hex() for change in changes}
        try:
            changed = await self._database.run("put", self._replacing(len(changes)), _values(changes, fresh))
        except Conflict:
            raise CONSTRAINT.error("put") from None
        if changed == len(changes):
            return list(fresh.values())
        table = self._table.c
        statement = select(table.row_key, table.revision).where(table.row_key.in_(list(fresh)))
        there = {bytes(key): revision for key, revision in await self._database.run("put", statement)}
        return [revision if there.get(key) == revision else None for key, revision in fresh.items()]

    async def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
        """Yield all rows whose key is greater than ``after``."""
        table = self._table.c
        while True:
            page = select(table.row_key, self._data, table.revision).where(table.row_key > after)
            rows = await self._database.run("list", page.order_by(table.row_key).limit(_PAGE))
            for key, data, revision in rows:
                if len(key) == KEY_LENGTH:
                    yield Kept(bytes(key), _read(data), str(revision))
            if len(rows) < _PAGE:
                return
            after = bytes(rows[-1][0])

    async def check(self) -> None:
        """Read, and put a row that is none and undo it. Raises if that is not possible."""
        await self.get(PROBE)
        await self.try_create()

    async def try_create(self) -> None:
        """Put two rows of one key, as large as may be, and undo it. The second must be refused."""
        key = os.urandom(KEY_LENGTH - 1)
        row = {"row_key": key, "data": bytes(MAX_ROW)}
        try:
            await self._database.rehearse(
                [insert(self._table).values({**row, "revision": digit * 32}) for digit in "01"]
            )
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

    def _replacing(self, count: int) -> Any:
        """Make the statement that replaces all of so many rows that have their revisions. It is kept: it costs more."""
        if count not in self._statements:
            table = self._table.c
            given = [_given(number) for number in range(count)]
            named = [and_(table.row_key == one.key, table.revision == one.before) for one in given]
            data = case(*((table.row_key == one.key, one.data) for one in given))
            revisions = case(*((table.row_key == one.key, one.fresh) for one in given))
            statement = update(self._table).where(or_(*named)).values(data=data, revision=revisions)
            self._statements[count] = statement
        return self._statements[count]

    async def _insert(self, row: dict[str, object]) -> None:
        try:
            await self._database.run("put", insert(self._table).values(row))
        except Conflict:
            found = await self._database.run(
                "put", select(self._table.c.revision).where(self._table.c.row_key == row["row_key"])
            )
            raise (conflict() if found else CONSTRAINT.error("put")) from None


class _Given(NamedTuple):
    """What is given of one of several rows that are replaced."""

    key: Any
    before: Any
    data: Any
    fresh: Any


def _given(number: int) -> _Given:
    types: tuple[Any, ...] = (LargeBinary(), String(), LargeBinary(), String())
    parts = zip(_Given._fields, types, strict=True)
    return _Given(*(bindparam(f"{name}_{number}", type_=kind) for name, kind in parts))


def _values(changes: Sequence[Kept], fresh: Mapping[bytes, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for number, change in enumerate(changes):
        given = _Given(change.key, change.revision, change.data, fresh[change.key])
        values |= {f"{name}_{number}": value for name, value in given._asdict().items()}
    return values


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


def _read(data: bytes | memoryview | None) -> bytes:
    """Return what a row has. SQLite's substr has NULL for a part of what is empty."""
    return bytes(data or b"")
