"""The table of a SQL store, and the statements that make it."""

from __future__ import annotations

import pytest
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Dialect

from envelope_codec import ConfigurationError
from envelope_codec.datastore.sql_ddl import render_ddl
from envelope_codec.storage.sql_table import make_table


@pytest.mark.parametrize("name", ["", "a b", "1a", "a.b.c", "a;drop table b", "a" * 49, None, ("a", "b")])
def test_what_can_be_no_table_is_refused(name: object) -> None:
    with pytest.raises(ConfigurationError, match="table= must be letters"):
        make_table(name)


def test_a_table_may_have_a_schema() -> None:
    table = make_table("shop.payloads")
    assert (table.schema, table.name) == ("shop", "payloads")


@pytest.mark.parametrize(
    ("dialect", "type_of_data"),
    [(postgresql.dialect, "BYTEA"), (mysql.dialect, "LONGBLOB"), (sqlite.dialect, "BLOB")],
)
def test_statements_are_the_dialects(dialect: type[Dialect], type_of_data: str) -> None:
    text = render_ddl(make_table("payloads"), dialect())
    create, index, rest = text.split(";\n")
    assert create.startswith("CREATE TABLE payloads")
    assert f"data {type_of_data} NOT NULL" in create
    assert index == "CREATE INDEX payloads_created ON payloads (created)"
    assert rest == ""
    assert " \n" not in text
