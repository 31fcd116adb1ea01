"""Payloads in a table of a SQL database: PostgreSQL, SQLite, MariaDB, MySQL."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import and_, case, delete, exists, func, insert, or_, select

from envelope_codec._frames import frameless
from envelope_codec.datastore.sql_database import Conflict, Database
from envelope_codec.datastore.sql_ddl import render_ddl
from envelope_codec.datastore.sql_engine import parse_url
from envelope_codec.datastore.sql_meanings import CONSTRAINT
from envelope_codec.errors import InvalidCiphertext, PayloadMissing
from envelope_codec.storage.sql_table import make_table
from envelope_codec.store import LARGEST, Stored, is_id, too_large, try_out

_PAGE = 1_000
_ID_LENGTH = 32
# Large payloads are kept in parts: MariaDB takes statements of 16 MiB if it is not told otherwise, asyncmy garbles
# larger rows, and libpq keeps for each connection a buffer as large as the largest row that it has seen.
_PART = 2 * 2**20


class SqlStore:
    """A `PayloadStore` in a table: ``postgresql+psycopg://USER@HOST/DATABASE?table=envelope_payloads``.

    ``table`` may have a schema before it. Everything else in the URL is SQLAlchemy's. If the URL names no driver, the
    driver is ``psycopg``, ``aiosqlite`` or ``asyncmy``. The store does not make the table: `ddl` has the statements.

    A large payload is kept in parts. The first part is written last, so that a payload is there only when it is whole.
    """

    @frameless
    def __init__(self, url: str) -> None:
        parsed = parse_url(url, "storage")
        self._table = make_table(parsed.query.get("table", "envelope_payloads"))
        self._database = Database(parsed.difference_update_query(["table"]), "storage")
        self._run = self._database.run

    @property
    def ddl(self) -> str:
        """Statements that make the table and its index."""
        return render_ddl(self._table, self._database.dialect)

    async def put(self, id: str, data: bytes) -> None:
        """Keep ``data`` under ``id``."""
        now, count = int(time.time()), max(1, -(-len(data) // _PART))
        for number in range(count - 1, -1, -1):
            part = data[number * _PART : (number + 1) * _PART]
            parts = count if number == 0 else -count if number == count - 1 else 0
            row = {"id": f"{id}.{number}" if number else id, "created": now, "size": len(data), "parts": parts}
            await self._insert({**row, "data": part})

    async def get(self, id: str) -> bytes:
        """Return what is kept under ``id``. Raises `PayloadMissing` if nothing is."""
        return await self.get_within(id, LARGEST)

    async def get_within(self, id: str, limit: int) -> bytes:
        """Do as `get`, and raise `TooLarge` if there are more than ``limit`` bytes."""
        count, first = await self._read_part(id, limit)
        if count > max(1, limit):  # no part of several is empty
            raise too_large()
        parts, left = [first], limit - len(first)
        for number in range(1, count):
            parts.append((await self._read_part(f"{id}.{number}", left))[1])
            left -= len(parts[-1])
        return b"".join(parts)

    async def delete(self, id: str) -> None:
        """Delete what is kept under ``id``, if anything is."""
        rows = await self._run("delete", select(self._table.c.parts).where(self._table.c.id == id))
        if rows:
            parts = self._table.c.id.in_([id, *(f"{id}.{number}" for number in range(1, rows[0][0]))])
        else:  # writing it was cut short, so that no row says how many parts there are
            parts = self._table.c.id.like(f"{id}.%")
        await self._run("delete", delete(self._table).where(parts))

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        """Yield all payloads that were put before ``before`` (Unix seconds), the oldest first.

        Parts without a first one count as a payload: its writing was cut short.
        """
        table, first = self._table, self._table.alias()
        id, created = table.c.id, table.c.created
        cut_short = and_(table.c.parts < 0, ~exists().where(first.c.id == func.substr(id, 1, _ID_LENGTH)))
        last_created, last_id = -1, ""
        while True:
            after = or_(created > last_created, and_(created == last_created, id > last_id))
            page = select(id, created, table.c.size).where(created < before, after, or_(table.c.parts > 0, cut_short))
            rows = await self._run("list", page.order_by(created, id).limit(_PAGE))
            for row in rows:
                if is_id(row[0][:_ID_LENGTH]) and row[0][_ID_LENGTH : _ID_LENGTH + 1] in ("", "."):
                    yield Stored(row[0][:_ID_LENGTH], float(row[1]), row[2])
            if len(rows) < _PAGE:
                return
            last_id, last_created = rows[-1][0], rows[-1][1]

    async def check(self) -> None:
        """Put, get and delete a row that is no payload. Raises if that is not possible."""
        await try_out(self)

    async def close(self) -> None:
        """Release the connections."""
        await self._database.close()

    async def _insert(self, row: dict[str, Any]) -> None:
        try:
            await self._run("put", insert(self._table).values(row))
        except Conflict:
            # Else an earlier attempt has come through, and only its answer was lost.
            if not await self._run("put", select(self._table.c.id).where(self._table.c.id == row["id"])):
                raise CONSTRAINT.error("put") from None

    async def _read_part(self, id: str, limit: int) -> tuple[int, bytes]:
        """Return the number of parts of the payload, and the bytes of this one.

        The database compares the size, and sends nothing larger. It need not even read the bytes for that. (substr
        would read them all; SQLite does so in this process.)
        """
        table, size = self._table.c, func.length(self._table.c.data)
        fits = size <= limit
        if self._database.dialect.name == "sqlite":  # which keeps a text in a column of bytes, if anybody puts it there
            fits = and_(func.typeof(table.data) == "blob", fits)
        rows = await self._run("get", select(table.parts, size, case((fits, table.data))).where(table.id == id))
        if not rows:
            raise PayloadMissing("the datastore has no such payload", operation="get")
        [(parts, length, data)] = rows
        if length > limit:
            raise too_large()
        if data is None:
            raise InvalidCiphertext("the datastore returned other bytes than were stored", operation="get")
        return int(parts), bytes(data)
