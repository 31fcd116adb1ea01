"""Types of settings take what they should, and name what they don't."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from envelope_codec.server.setting import OFF, Addresses, Origins, Pattern, Prefix, Rate, Url, suggest


@pytest.mark.parametrize(
    ("kind", "given", "taken"),
    [
        (Addresses, "127.0.0.1:1", ("127.0.0.1:1",)),
        (Origins, ["*", "https://a.example:8443"], ("*", "https://a.example:8443")),
        (Url, "https://a.example/x/", "https://a.example/x"),
        (Url, None, None),
        (Prefix, "/codec/", "/codec"),
        (Prefix, "/", ""),
        (Rate, "10/second", "10/second"),
        (Rate, OFF, OFF),
        (Pattern, "orders-*", "orders-*"),
    ],
)
def test_what_is_right_is_taken(kind: Any, given: object, taken: object) -> None:
    assert TypeAdapter(kind).validate_python(given) == taken


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (Addresses, "127.0.0.1"),
        (Origins, "https://a.example/"),
        (Origins, "https://A.example"),
        (Url, "ftp://a"),
        (Url, "http://a\n"),
        (Prefix, "codec"),
        (Rate, "0/second"),
        (Rate, "often"),
        (Pattern, ""),
        (Pattern, "[a]"),
        (Pattern, "x" * 257),
    ],
)
def test_what_is_wrong_is_not(kind: Any, given: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(given)


def test_a_near_name_is_suggested_and_otherwise_all() -> None:
    from envelope_codec.server.auth.rule import Rule

    assert suggest("claim", Rule) == "; did you mean claims?"
    assert suggest("x", Rule) == " (known: claims, namespaces, verbs)"
