"""The table that a SQL store keeps payloads in."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy.dialects import mysql

from envelope_codec.datastore.sql_ddl import split_name


def make_table(name: object) -> Table:
    """Describe the table of this name, which may have a schema before it.

    Raises:
        ConfigurationError: no table can have the name.
    """
    schema, name = split_name(name, "storage")
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
        schema=schema,
    )
