"""What is said where the scheme of a URL is unknown, and which one is likely meant."""

from __future__ import annotations

import pytest

from envelope_codec.errors import ConfigurationError
from envelope_codec.store import parse_store_url


@pytest.mark.parametrize(
    ("scheme", "likely"), [("postgres", "postgresql"), ("mongo", "mongodb"), ("postgres+psycopg", "postgresql")]
)
def test_a_likely_slip_in_the_scheme_is_named(scheme: str, likely: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"did you mean {likely}://…\?$") as caught:
        parse_store_url(f"{scheme}://user:password@host/db").open()
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["nonsense", "sql", "x"])
def test_where_none_or_several_may_be_meant_none_is_named(scheme: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no store for URL scheme .*\)$"):
        parse_store_url(f"{scheme}://host").open()
