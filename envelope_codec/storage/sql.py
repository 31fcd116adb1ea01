"""Payloads in a table of a SQL database: PostgreSQL, SQLite, MariaDB, MySQL."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    and_,
    delete,
    event,
    exists,
    func,
    insert,
    or_,
    select,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateIndex, CreateTable

from envelope_codec._frames import frameless
from envelope_codec.errors import (
    ConfigurationError,
    EnvelopeError,
    PayloadMissing,
)
from envelope_codec.storage.sql_error import CONSTRAINT, OPTIONS, described, is_read_only, meaning
from envelope_codec.store import Stored, in_our_words, is_id, try_out

_log = logging.getLogger("envelope_codec.storage.sql")

_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "sqlite": "sqlite+aiosqlite",
    "mysql": "mysql+asyncmy",
    "mariadb": "mariadb+asyncmy",
}
_TABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,47}")  # its index has a longer name
_PAGE = 1_000
_POOL = 16
# Each statement commits itself, and so there is nothing to roll back either.
_STATELESS: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None}

_ID_LENGTH = 32
# Large payloads are kept in parts: MariaDB takes statements of 16 MiB if it is not told otherwise, asyncmy garbles
# larger rows, and libpq keeps for each connection a buffer as large as the largest row that it has seen.
_PART = 2 * 2**20


class SqlStore:
    """A `PayloadStore` in a table: ``postgresql+psycopg://USER@HOST/DATABASE?table=envelope_payloads``.

    Everything in the URL but ``table`` (which may have a schema before it) is SQLAlchemy's; without a driver it is
    ``psycopg``, ``aiosqlite`` or ``asyncmy``. The table is not made here: `ddl` says how. The first part of a payload
    is written last: it is what makes a payload be there.
    """

    @frameless
    def __init__(self, url: str) -> None:
        parsed = _url(url)
        name = parsed.query.get("table", "envelope_payloads")
        if not isinstance(name, str) or not _TABLE.fullmatch(name):
            raise ConfigurationError("storage: table= must be letters, digits and '_', with a schema before it or not")
        self._table = _table(name)
        try:
            with in_our_words("SQLAlchemy"):
                self._engine = _engine(parsed.difference_update_query(["table"]))
        except ModuleNotFoundError:
            raise  # the extra is missing, which whoever looked this class up says
        except (ArgumentError, NoSuchModuleError, SQLAlchemyError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"storage: SQLAlchemy can't make an engine of the URL: {type(error).__name__}"
            ) from None

    @property
    def ddl(self) -> str:
        """The statements that make the table and its index."""
        dialect = self._engine.dialect
        made: list[Any] = [CreateTable(self._table), *(CreateIndex(index) for index in self._table.indexes)]
        text = "".join(f"{str(one.compile(dialect=dialect)).strip()};\n" for one in made)
        return re.sub(r"[ \t]+\n", "\n", text)

    async def put(self, id: str, data: bytes) -> None:
        """See `PayloadStore.put`."""
        now, count = int(time.time()), max(1, -(-len(data) // _PART))
        for number in range(count - 1, -1, -1):
            part = data[number * _PART : (number + 1) * _PART]
            parts = count if number == 0 else -count if number == count - 1 else 0
            row = {"id": f"{id}.{number}" if number else id, "created": now, "size": len(data), "parts": parts}
            await self._insert({**row, "data": part})

    async def get(self, id: str) -> bytes:
        """See `PayloadStore.get`."""
        count, first = await self._row(id)
        if count == 1:
            return first
        return b"".join([first, *[(await self._row(f"{id}.{number}"))[1] for number in range(1, count)]])

    async def delete(self, id: str) -> None:
        """See `PayloadStore.delete`."""
        rows = await self._do("delete", select(self._table.c.parts).where(self._table.c.id == id))
        if rows:
            parts = self._table.c.id.in_([id, *(f"{id}.{number}" for number in range(1, rows[0][0]))])
        else:  # writing it was cut short: there is no telling how many there are
            parts = self._table.c.id.like(f"{id}.%")
        await self._do("delete", delete(self._table).where(parts))

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        """See `PayloadStore.list_before`. The oldest first. Parts without a first one count as a payload."""
        table, first = self._table, self._table.alias()
        id, created = table.c.id, table.c.created
        cut_short = and_(table.c.parts < 0, ~exists().where(first.c.id == func.substr(id, 1, _ID_LENGTH)))
        last_created, last_id = -1, ""
        while True:
            after = or_(created > last_created, and_(created == last_created, id > last_id))
            page = select(id, created, table.c.size).where(created < before, after, or_(table.c.parts > 0, cut_short))
            rows = await self._do("list", page.order_by(created, id).limit(_PAGE))
            for row in rows:
                if is_id(row[0][:_ID_LENGTH]) and row[0][_ID_LENGTH : _ID_LENGTH + 1] in ("", "."):
                    yield Stored(row[0][:_ID_LENGTH], float(row[1]), row[2])
            if len(rows) < _PAGE:
                return
            last_id, last_created = rows[-1][0], rows[-1][1]

    async def check(self) -> None:
        """See `PayloadStore.check`."""
        await try_out(self)

    async def close(self) -> None:
        """See `PayloadStore.close`."""
        await self._engine.dispose()

    async def _insert(self, row: dict[str, Any]) -> None:
        try:
            await self._do("put", insert(self._table).values(row))
        except _Conflict:
            if not await self._do("put", select(self._table.c.id).where(self._table.c.id == row["id"])):
                raise CONSTRAINT.error("put") from None
            # An earlier attempt has come through, and its answer has not.

    async def _row(self, id: str) -> tuple[int, bytes]:
        """How many parts there are, and what is in this one."""
        rows = await self._do("get", select(self._table.c.parts, self._table.c.data).where(self._table.c.id == id))
        if not rows:
            raise PayloadMissing("the datastore has no such payload", operation="get")
        return int(rows[0][0]), bytes(rows[0][1])

    async def _do(self, operation: str, statement: Any) -> Any:
        """Run one statement, which commits itself. Its rows, if it returns any."""
        connected = False
        try:
            async with self._engine.connect() as connection:
                connected = True
                try:
                    result = await connection.execute(statement)
                except DBAPIError as error:
                    if is_read_only(error.orig):
                        await connection.invalidate()  # the next one may lead to the primary
                    raise
                return result.all() if result.returns_rows else None
        except IntegrityError as error:
            if operation == "put":
                raise _Conflict from None
            raise _failure(error, operation) from None
        except (SQLAlchemyError, OSError) as error:
            raise _failure(error, operation) from None
        except (TypeError, ValueError):
            if connected:
                raise
            raise OPTIONS.error(operation) from None


class _Conflict(Exception):
    """A constraint is against it: the id is there already, most likely."""


def _url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError("storage: SQLAlchemy can't read the URL of the database") from None
    return parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))


def _table(name: str) -> Table:
    schema, _, name = name.rpartition(".")
    data = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
    return Table(
        name,
        MetaData(),
        Column("id", String(40), primary_key=True, comment="32 digits, and .NUMBER for further parts"),
        Column("created", BigInteger, nullable=False, comment="Unix seconds"),
        Column("size", BigInteger, nullable=False, comment="bytes of the whole payload"),
        Column("parts", Integer, nullable=False, comment="of the payload, negative in its last part, else 0"),
        Column("data", data, nullable=False),
        Index(f"{name}_created", "created"),
        schema=schema or None,
    )


def _engine(url: URL) -> AsyncEngine:
    settings: dict[str, Any] = {**_STATELESS, "pool_size": _POOL, "max_overflow": _POOL, "pool_timeout": 10}
    if url.get_backend_name() == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise ConfigurationError("storage: SQLite in memory keeps nothing: give a file, sqlite:////path")
        waits = {} if "timeout" in url.query else {"timeout": 5.0}  # seconds for other writers
        engine = create_async_engine(url, **settings, connect_args=waits)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        return engine
    if url.drivername == "postgresql+psycopg":
        settings["connect_args"] = {"cursor_factory": _binary_cursor()}
    return create_async_engine(url, **settings, pool_recycle=1_800)


def _binary_cursor() -> type[Any]:
    """Cursors of psycopg whose results are binary: else each payload comes as a text of hex digits, twice as long."""
    from psycopg import AsyncCursor
    from psycopg.pq import Format

    class BinaryCursor(AsyncCursor[Any]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.format = Format.BINARY

    return BinaryCursor


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    # Readers and the writer don't wait for each other. The file keeps this, so that it matters once.
    with suppress(Exception):  # of whatever class the driver's is: read-only, or in use at this moment
        cursor.execute("PRAGMA journal_mode = WAL")
    cursor.close()


def _failure(error: BaseException, operation: str) -> EnvelopeError:
    found = meaning(error)
    _log.debug("SQL %s failed: %s", operation, described(error))
    return found.error(operation)
