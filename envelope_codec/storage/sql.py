"""Payloads in a table of a SQL database: PostgreSQL, SQLite, MariaDB, MySQL."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    and_,
    delete,
    event,
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

from envelope_codec.errors import (
    ConfigurationError,
    EnvelopeError,
    PayloadMissing,
    StoreRefused,
    StoreUnavailable,
)
from envelope_codec.storage.store import Stored

_log = logging.getLogger("envelope_codec.storage.sql")

_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "sqlite": "sqlite+aiosqlite",
    "mysql": "mysql+asyncmy",
    "mariadb": "mariadb+asyncmy",
}
_TABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,62}")
_PAGE = 1_000
_POOL = 16

# What a database says of the request itself, so that asking again is in vain.
# https://www.postgresql.org/docs/current/errcodes-appendix.html: classes of SQLSTATE, and single ones
_REFUSING_STATES = ("28", "3D", "3F", "42", "25006", "53100", "0A", "22", "54")
# https://mariadb.com/kb/en/mariadb-error-codes/
_REFUSING_NUMBERS = {1044, 1045, 1046, 1049, 1054, 1142, 1143, 1146, 1153, 1227, 1290, 1406, 1698, 1792, 1836}
_REFUSING_WORDS = (
    "no such table",
    "readonly",
    "unable to open database file",
    "not a database",
    "is full",
    "no column",
)


class SqlStore:
    """A `PayloadStore` in a table: ``postgresql+psycopg://USER@HOST/DATABASE?table=envelope_payloads``.

    Everything in the URL but ``table`` (which may have a schema before it) is SQLAlchemy's; without a driver it is
    ``psycopg``, ``aiosqlite`` or ``asyncmy``. The table is not made here: `ddl` says how.
    """

    def __init__(self, url: str) -> None:
        parsed = _url(url)
        name = parsed.query.get("table", "envelope_payloads")
        if not isinstance(name, str) or not _TABLE.fullmatch(name):
            raise ConfigurationError("storage: table= must be letters, digits and '_', with a schema before it or not")
        self._table = _table(name)
        try:
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
        return "".join(f"{str(one.compile(dialect=dialect)).strip()};\n" for one in made)

    async def put(self, id: str, data: bytes) -> None:
        """See `PayloadStore.put`."""
        try:
            await self._do("put", insert(self._table).values(id=id, created=int(time.time()), data=data))
        except _Duplicate:
            return  # an earlier attempt has come through, and its answer has not

    async def get(self, id: str) -> bytes:
        """See `PayloadStore.get`."""
        rows = await self._do("get", select(self._table.c.data).where(self._table.c.id == id))
        if not rows:
            raise PayloadMissing("the datastore has no such payload", operation="get")
        return bytes(rows[0][0])

    async def delete(self, id: str) -> None:
        """See `PayloadStore.delete`."""
        await self._do("delete", delete(self._table).where(self._table.c.id == id))

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        """See `PayloadStore.list_before`. The oldest first."""
        id, created = self._table.c.id, self._table.c.created
        last_created, last_id = -1, ""
        while True:
            after = or_(created > last_created, and_(created == last_created, id > last_id))
            page = select(id, created, func.length(self._table.c.data)).where(created < before, after)
            rows = await self._do("list", page.order_by(created, id).limit(_PAGE))
            for row in rows:
                yield Stored(row[0], float(row[1]), row[2])
            if len(rows) < _PAGE:
                return
            last_id, last_created = rows[-1][0], rows[-1][1]

    async def check(self) -> None:
        """See `PayloadStore.check`."""
        await self.put("check", b"")
        await self.delete("check")

    async def close(self) -> None:
        """See `PayloadStore.close`."""
        await self._engine.dispose()

    async def _do(self, operation: str, statement: Any) -> Any:
        """Run one statement, which commits itself. Its rows, if it returns any."""
        try:
            async with self._engine.connect() as connection:
                result = await connection.execute(statement)
                return result.all() if result.returns_rows else None
        except IntegrityError as error:
            if operation == "put":
                raise _Duplicate from None
            raise _failure(error, operation) from None
        except (SQLAlchemyError, OSError) as error:
            raise _failure(error, operation) from None


class _Duplicate(Exception):
    """The id is there already."""


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
        Column("id", String(32), primary_key=True),
        Column("created", BigInteger, nullable=False, comment="Unix seconds"),
        Column("data", data, nullable=False),
        Index(f"{name}_created", "created"),
        schema=schema or None,
    )


def _engine(url: URL) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        engine = create_async_engine(url, isolation_level="AUTOCOMMIT", connect_args={"timeout": 20})
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        return engine
    return create_async_engine(
        url, isolation_level="AUTOCOMMIT", pool_size=_POOL, max_overflow=_POOL, pool_timeout=10, pool_recycle=1_800
    )


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")  # readers and the writer don't wait for each other
    cursor.close()


def _failure(error: BaseException, operation: str) -> EnvelopeError:
    original = getattr(error, "orig", None)
    _log.debug("SQL %s failed: %s %s", operation, type(error).__name__, type(original).__name__)
    if isinstance(error, DBAPIError) and not error.connection_invalidated and _refuses(original):
        return StoreRefused(
            "the database refused: no such table, column or database, no permission, read-only, or full",
            operation=operation,
        )
    return StoreUnavailable("the database did not answer", operation=operation)


def _refuses(original: BaseException | None) -> bool:
    state = getattr(original, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_REFUSING_STATES)
    number = original.args[0] if original is not None and original.args else None
    if isinstance(number, int):
        return number in _REFUSING_NUMBERS
    text = str(original)  # psycopg's refusals at the start of a connection have no state, SQLite's never have one
    return any(words in text for words in _REFUSING_WORDS) or ("FATAL:" in text and "starting up" not in text)
