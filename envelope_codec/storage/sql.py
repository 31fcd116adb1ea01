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
    ColumnElement,
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
from envelope_codec.storage.store import Stored, is_id

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

# asyncmy garbles rows of 16 MiB and more, which arrive in several packets.
_IN_PIECES = ("mysql", "mariadb")
_PIECE = 8 * 2**20

# What a database says of the request itself, so that asking again is in vain.
# https://www.postgresql.org/docs/current/errcodes-appendix.html: classes of SQLSTATE, and single ones
_REFUSING_STATES = ("28", "3D", "3F", "42", "53100", "0A", "22", "54")
# https://mariadb.com/kb/en/mariadb-error-codes/
_REFUSING_NUMBERS = {1044, 1045, 1046, 1049, 1054, 1142, 1143, 1146, 1153, 1227, 1370, 1406, 1698, 3819, 4025}
_REFUSING_WORDS = (
    # of SQLite, whose errors have neither
    *("no such table", "readonly", "unable to open database file", "not a database", "is full", "no column"),
    # of PostgreSQL when it refuses a connection: libpq tells no SQLSTATE then
    *(
        "authentication failed",
        "no pg_hba.conf entry",
        "does not exist",
        "permission denied",
        "not permitted to log in",
    ),
    *("no password supplied",),
)
# A server that takes no writes: a replica, or what was the primary until a moment ago.
_READ_ONLY_STATES = ("25006",)
_READ_ONLY_NUMBERS = {1290, 1792, 1836}


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
        text = "".join(f"{str(one.compile(dialect=dialect)).strip()};\n" for one in made)
        return re.sub(r"[ \t]+\n", "\n", text)

    async def put(self, id: str, data: bytes) -> None:
        """See `PayloadStore.put`."""
        try:
            await self._do("put", insert(self._table).values(id=id, created=int(time.time()), data=data))
        except _Conflict:
            if not await self._do("put", select(self._table.c.id).where(self._table.c.id == id)):
                raise StoreRefused("the table has a constraint that refuses payloads", operation="put") from None
            # An earlier attempt has come through, and its answer has not.

    async def get(self, id: str) -> bytes:
        """See `PayloadStore.get`."""
        if self._engine.dialect.name in _IN_PIECES:
            return await self._get_in_pieces(id)
        [data] = await self._row(id, self._table.c.data)
        return bytes(data)

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
                if is_id(row[0]):
                    yield Stored(row[0], float(row[1]), row[2])
            if len(rows) < _PAGE:
                return
            last_id, last_created = rows[-1][0], rows[-1][1]

    async def check(self) -> None:
        """See `PayloadStore.check`."""
        await self.put("check", b"")
        await self.get("check")
        with suppress(StoreRefused):  # who stores need not be allowed to delete
            await self.delete("check")

    async def close(self) -> None:
        """See `PayloadStore.close`."""
        await self._engine.dispose()

    async def _get_in_pieces(self, id: str) -> bytes:
        pieces = [b""]
        length, received = 1, 0
        while received < length:
            data = self._table.c.data
            length, piece = await self._row(id, func.length(data), func.substr(data, received + 1, _PIECE))
            pieces.append(bytes(piece))
            received += len(piece)
            if not piece:
                break
        return b"".join(pieces)

    async def _row(self, id: str, *columns: ColumnElement[Any]) -> Any:
        rows = await self._do("get", select(*columns).where(self._table.c.id == id))
        if not rows:
            raise PayloadMissing("the datastore has no such payload", operation="get")
        return rows[0]

    async def _do(self, operation: str, statement: Any) -> Any:
        """Run one statement, which commits itself. Its rows, if it returns any."""
        try:
            async with self._engine.connect() as connection:
                try:
                    result = await connection.execute(statement)
                except DBAPIError as error:
                    if _is_read_only(error.orig):
                        await connection.invalidate()  # the next one may lead to the primary
                    raise
                return result.all() if result.returns_rows else None
        except IntegrityError as error:
            if operation == "put":
                raise _Conflict from None
            raise _failure(error, operation) from None
        except (SQLAlchemyError, OSError) as error:
            raise _failure(error, operation) from None


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
        Column("id", String(32), primary_key=True),
        Column("created", BigInteger, nullable=False, comment="Unix seconds"),
        Column("data", data, nullable=False),
        Index(f"{name}_created", "created"),
        schema=schema or None,
    )


def _engine(url: URL) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise ConfigurationError("storage: SQLite in memory keeps nothing: give a file, sqlite:////path")
        waits = {} if "timeout" in url.query else {"timeout": 5.0}  # seconds for other writers
        engine = create_async_engine(url, isolation_level="AUTOCOMMIT", connect_args=waits)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        return engine
    return create_async_engine(
        url, isolation_level="AUTOCOMMIT", pool_size=_POOL, max_overflow=_POOL, pool_timeout=10, pool_recycle=1_800
    )


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    # Readers and the writer don't wait for each other. The file keeps this, so that it matters once.
    with suppress(Exception):  # of whatever class the driver's is: read-only, or in use at this moment
        cursor.execute("PRAGMA journal_mode = WAL")
    cursor.close()


def _failure(error: BaseException, operation: str) -> EnvelopeError:
    original = getattr(error, "orig", None)
    _log.debug("SQL %s failed: %s %s", operation, type(error).__name__, type(original).__name__)
    if isinstance(error, DBAPIError) and _is_read_only(original):
        return StoreUnavailable("the database takes no writes: it is a replica, or read-only", operation=operation)
    if isinstance(error, DBAPIError) and not error.connection_invalidated and _refuses(original):
        return StoreRefused(
            "the database refused: no such table, column or database, no permission, read-only, or full",
            operation=operation,
        )
    return StoreUnavailable("the database did not answer", operation=operation)


def _is_read_only(original: BaseException | None) -> bool:
    return getattr(original, "sqlstate", None) in _READ_ONLY_STATES or _number(original) in _READ_ONLY_NUMBERS


def _refuses(original: BaseException | None) -> bool:
    state, number = getattr(original, "sqlstate", None), _number(original)
    if number is not None:
        return number in _REFUSING_NUMBERS
    if state is not None:
        return str(state).startswith(_REFUSING_STATES)
    return any(words in str(original) for words in _REFUSING_WORDS)


def _number(original: BaseException | None) -> int | None:
    """The number that MariaDB and MySQL give an error, as their drivers have it."""
    first = original.args[0] if original is not None and original.args else None
    return first if isinstance(first, int) else None
