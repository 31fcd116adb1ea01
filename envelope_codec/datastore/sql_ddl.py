"""Names of tables, and the statements that make them."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Table
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from envelope_codec.errors import ConfigurationError

_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,47}")  # its index has a longer name


def split_name(name: object, setting: str) -> tuple[str | None, str]:
    """Return the schema and the name of a table, as the URL in ``setting`` gives them.

    Raises:
        ConfigurationError: no table can have the name.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(f"{setting}: table= must be letters, digits and '_', with a schema before it or not")
    schema, _, name = name.rpartition(".")
    return schema or None, name


def render_ddl(table: Table, dialect: Dialect) -> str:
    """Return the statements that make ``table`` and its indexes."""
    statements: list[Any] = [CreateTable(table), *(CreateIndex(index) for index in table.indexes)]
    text = "".join(f"{str(one.compile(dialect=dialect)).strip()};\n" for one in statements)
    return re.sub(r"[ \t]+\n", "\n", text)
