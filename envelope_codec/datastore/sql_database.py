"""A database behind SQLAlchemy, for a store or a keystore."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from envelope_codec._frames import frameless
from envelope_codec.datastore.sql_engine import make_engine
from envelope_codec.datastore.sql_error import describe, find_meaning, is_read_only
from envelope_codec.datastore.sql_meanings import OPTIONS
from envelope_codec.errors import EnvelopeError

_log = logging.getLogger("envelope_codec.datastore.sql")


class Conflict(Exception):
    """A constraint refuses the row. Most likely its id is there already."""


class Database:
    """Runs statements. No network is asked when it is made.

    Args:
        url: of the database, as `parse_url` gives it, with nothing in it that is not SQLAlchemy's.
        setting: that the URL was given in, for texts of errors.

    Raises:
        ConfigurationError: SQLAlchemy takes no such URL.
    """

    @frameless
    def __init__(self, url: URL, setting: str) -> None:
        self._engine = make_engine(url, setting)
        self.dialect = self._engine.dialect

    async def run(self, operation: str, statement: Any, values: Mapping[str, Any] | None = None) -> Any:
        """Run one statement, which commits itself. Return its rows if it has any, else how many rows it changed.

        ``values`` are of its parameters, if it has any.

        Raises:
            Conflict: a constraint refuses what is put.
        """
        connected = False
        try:
            async with self._engine.connect() as connection:
                connected = True
                try:
                    result = await connection.execute(statement, values)
                except DBAPIError as error:
                    if is_read_only(error.orig):
                        await connection.invalidate()  # the next connection may lead to the primary
                    raise
                return result.all() if result.returns_rows else result.rowcount
        except IntegrityError as error:
            if operation == "put":
                raise Conflict from None
            raise _translate(error, operation) from None
        except (SQLAlchemyError, OSError) as error:
            raise _translate(error, operation) from None
        except (TypeError, ValueError):
            if connected:
                raise
            raise OPTIONS.error(operation) from None

    async def rehearse(self, statements: Sequence[Any]) -> list[int]:
        """Run statements that write, and undo them all. Return how many rows each one changed.

        Raises:
            Conflict: a constraint refuses what the last one puts.
        """
        changed: list[int] = []
        try:
            async with self._engine.connect() as connection:
                await connection.execute(text("BEGIN"))
                try:
                    for statement in statements:
                        changed.append((await connection.execute(statement)).rowcount)
                except IntegrityError:
                    await connection.execute(text("ROLLBACK"))
                    raise
                except BaseException:
                    await connection.invalidate()  # and with it what was begun
                    raise
                await connection.execute(text("ROLLBACK"))
        except IntegrityError as error:
            if len(changed) == len(statements) - 1:
                raise Conflict from None
            raise _translate(error, "put") from None
        except (SQLAlchemyError, OSError) as error:
            raise _translate(error, "put") from None
        return changed

    async def close(self) -> None:
        """Release the connections."""
        await self._engine.dispose()


def _translate(error: BaseException, operation: str) -> EnvelopeError:
    _log.debug("SQL %s failed: %s", operation, describe(error))
    return find_meaning(error).error(operation)
