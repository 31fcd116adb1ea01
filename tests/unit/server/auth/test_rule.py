"""Rules: which claims fit, and how claims are read."""

from __future__ import annotations

from typing import Any

import pytest

from envelope_codec.server.auth.rule import Rule, values_of_claim

CLAIMS = {
    "email": "ada@example.com",
    "groups": ["payments-dev", "staff"],
    "scope": "codec:read openid",
    "realm_access": {"roles": ["auditor"]},
    "https://example.com/team": "blue",
    "admin": True,
    "level": 3,
    "nothing": None,
    "empty": [],
    "nested": {"list": [{"a": "b"}]},
}


@pytest.mark.parametrize(
    ("claims", "fits"),
    [
        ({}, True),
        ({"email": "ada@example.com"}, True),
        ({"email": "*@example.com"}, True),
        ({"email": "*@example.org"}, False),
        ({"email": "ADA@example.com"}, False),
        ({"email": "ada@example.com.evil.example"}, False),
        ({"email": "a?a@example.com"}, True),
        ({"email": ["x", "ada@*"]}, True),
        ({"groups": "payments-*"}, True),
        ({"groups": "payments"}, False),
        ({"groups": "staff", "email": "*@example.com"}, True),
        ({"groups": "staff", "email": "*@example.org"}, False),
        ({"scope": "codec:read"}, True),
        ({"scope": "codec:read openid"}, False),
        ({"scope": "codec:*"}, True),
        ({"realm_access.roles": "auditor"}, True),
        ({"realm_access": "*"}, False),
        ({"https://example.com/team": "blue"}, True),
        ({"admin": "true"}, True),
        ({"level": "3"}, True),
        ({"nothing": "*"}, False),
        ({"empty": "*"}, False),
        ({"absent": "*"}, False),
        ({"nested.list": "*"}, False),
        ({"": "*"}, False),
    ],
)
def test_every_claim_that_a_rule_names_must_fit(claims: dict[str, Any], fits: bool) -> None:
    assert Rule.model_validate({"claims": claims, "namespaces": ("*",)}).fits(CLAIMS) is fits


def test_claims_are_read_as_texts() -> None:
    assert list(values_of_claim({"scp": "a  b"}, "scp")) == ["a", "b"]
    assert list(values_of_claim({"group": "a b"}, "group")) == ["a b"]
    assert list(values_of_claim({"a": {"b": False}}, "a.b")) == ["false"]
    assert list(values_of_claim({"a.b": "x", "a": {"b": "y"}}, "a.b")) == ["x"]
