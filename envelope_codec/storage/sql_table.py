"""The table that a SQL store keeps payloads in."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from envelope_codec.errors import ConfigurationError

_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,47}")  # its index has a longer name


def make_table(name: object) -> Table:
    """Describe the table of this name, which may have a schema before it.

    Raises:
        ConfigurationError: no table can have the name.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError("storage: table= must be letters, digits and '_', with a schema before it or not")
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


def render_ddl(table: Table, dialect: Dialect) -> str:
    """Return the statements that make ``table`` and its index."""
    statements: list[Any] = [CreateTable(table), *(CreateIndex(index) for index in table.indexes)]
    text = "".join(f"{str(one.compile(dialect=dialect)).strip()};\n" for one in statements)
    return re.sub(r"[ \t]+\n", "\n", text)
