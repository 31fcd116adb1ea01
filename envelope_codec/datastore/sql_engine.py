"""The engine of SQLAlchemy that a store or a keystore uses, made from its URL."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from envelope_codec.datastore.client_warnings import in_our_words
from envelope_codec.errors import ConfigurationError

_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "sqlite": "sqlite+aiosqlite",
    "mysql": "mysql+asyncmy",
    "mariadb": "mariadb+asyncmy",
}
_POOL = 16
# Each statement commits itself, and so there is nothing to roll back either.
_STATELESS: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None}


def parse_url(url: str, setting: str) -> URL:
    """Read a database's URL, and add this library's choice of a driver where it names none.

    Args:
        url: of the database.
        setting: that it was given in, for the text of the error.

    Raises:
        ConfigurationError: SQLAlchemy can't read it.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError(f"{setting}: SQLAlchemy can't read the URL of the database") from None
    return parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))


def make_engine(url: URL, setting: str) -> AsyncEngine:
    """Make the engine for ``url``, which was given in ``setting``. No network is asked.

    Raises:
        ConfigurationError: SQLAlchemy takes no such URL.
        ModuleNotFoundError: the driver is not installed.
    """
    try:
        with in_our_words("SQLAlchemy", setting):
            return _make_sqlite(url, setting) if url.get_backend_name() == "sqlite" else _make_server(url)
    except ModuleNotFoundError:
        raise  # whoever looked up the store's class says which extra is missing
    except (ArgumentError, NoSuchModuleError, SQLAlchemyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{setting}: SQLAlchemy can't make an engine of the URL: {type(error).__name__}"
        ) from None


def _settings() -> dict[str, Any]:
    return {**_STATELESS, "pool_size": _POOL, "max_overflow": _POOL, "pool_timeout": 10}


def _make_sqlite(url: URL, setting: str) -> AsyncEngine:
    if url.database in (None, "", ":memory:"):
        raise ConfigurationError(f"{setting}: SQLite in memory keeps nothing: give a file, sqlite:////path")
    waits = {} if "timeout" in url.query else {"timeout": 5.0}  # seconds to wait for other writers
    engine = create_async_engine(url, **_settings(), connect_args=waits)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    return engine


def _make_server(url: URL) -> AsyncEngine:
    settings = _settings()
    if url.drivername == "postgresql+psycopg":
        settings["connect_args"] = {"cursor_factory": _binary_cursor()}
    return create_async_engine(url, **settings, pool_recycle=1_800)


def _binary_cursor() -> type[Any]:
    """Return a class of psycopg's cursors whose results are binary.

    Otherwise each payload comes as a text of hex digits, twice as long.
    """
    from psycopg import AsyncCursor
    from psycopg.pq import Format

    class BinaryCursor(AsyncCursor[Any]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.format = Format.BINARY

    return BinaryCursor


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    # In this mode, readers and the writer don't wait for each other. The file keeps the mode, so that one success is
    # enough. The errors are of whatever class the driver has: the file is read-only, or in use at this moment.
    with suppress(Exception):
        cursor.execute("PRAGMA journal_mode = WAL")
    cursor.close()
