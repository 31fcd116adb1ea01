"""The engine of a SQL store, made from its URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from envelope_codec import ConfigurationError
from envelope_codec.datastore.sql_engine import make_engine, parse_url


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://h/d", "postgresql+psycopg"),
        ("postgresql+asyncpg://h/d", "postgresql+asyncpg"),
        ("sqlite:////a", "sqlite+aiosqlite"),
        ("mysql://h/d", "mysql+asyncmy"),
        ("mariadb://h/d", "mariadb+asyncmy"),
    ],
)
def test_a_url_without_a_driver_gets_one(url: str, driver: str) -> None:
    assert parse_url(url, "storage").drivername == driver


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_sqlite_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="in memory keeps nothing"):
        make_engine(parse_url(url, "storage"), "storage")


def test_wrong_urls_are_told_without_their_password() -> None:
    for url, said in (("postgresql://u:hush@host:port/d", "can't read"), ("nothing://u:hush@host/d", "can't make")):
        with pytest.raises(ConfigurationError, match=said) as raised:
            make_engine(parse_url(url, "storage"), "storage")
        assert "hush" not in str(raised.value)


async def test_readers_of_sqlite_do_not_wait_for_its_writer(tmp_path: Path) -> None:
    engine = make_engine(parse_url(f"sqlite:///{tmp_path}/a.db", "storage"), "storage")
    async with engine.connect() as connection:
        mode = (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar()
    assert mode == "wal"
    await engine.dispose()
