"""Who may do what: rules, peers, former names, and the claims that count."""

from __future__ import annotations

from typing import Any

import pytest

from envelope_codec.server import ServerConfig
from envelope_codec.server.auth.access import Access
from envelope_codec.server.auth.principal import Principal, joined
from envelope_codec.server.auth.rule import Rule, claim_values

CLOUD = {"issuer": "temporal-cloud"}


def access(*rules: dict[str, Any], peers: Any = None, aliases: dict[str, str] | None = None) -> Access:
    return Access(ServerConfig(auth=[CLOUD], rules=rules, peers=peers or {}), aliases or {})


def somebody(**claims: Any) -> Principal:
    return Principal("https://login.tmprl.cloud/", "ada", claims)


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
    assert Rule(claims=claims, namespaces=("*",)).fits(CLAIMS) is fits


def test_claims_are_read_as_texts() -> None:
    assert list(claim_values({"scp": "a  b"}, "scp")) == ["a", "b"]
    assert list(claim_values({"group": "a b"}, "group")) == ["a b"]
    assert list(claim_values({"a": {"b": False}}, "a.b")) == ["false"]
    assert list(claim_values({"a.b": "x", "a": {"b": "y"}}, "a.b")) == ["x"]


def test_nobody_may_do_what_no_rule_allows() -> None:
    rules = access(
        {"claims": {"groups": "dev"}, "namespaces": ["dev-*", "shared"], "verbs": ["decode", "encode"]},
        {"claims": {"groups": "ops"}, "namespaces": "*"},
    )
    dev, ops, none = (rules.of(somebody(groups=groups)) for groups in (["dev"], ["ops"], []))
    assert dev.may("decode", "dev-1")
    assert dev.may("encode", "shared")
    assert not dev.may("download", "dev-1")
    assert not dev.may("decode", "prod")
    assert not dev.may("decode", "DEV-1")
    assert ops.may("decode", "prod")
    assert ops.may("download", "dev-1")
    assert not ops.may("encode", "prod")
    assert (dev.any("encode"), dev.any("download"), ops.any("encode")) == (True, False, False)
    assert not any(none.any(verb) for verb in ("decode", "encode", "download"))
    both = rules.of(somebody(groups=["dev", "ops"]))
    assert (both.may("encode", "dev-1"), both.may("encode", "prod"), both.may("decode", "prod")) == (True, False, True)


def test_readers_of_a_namespace_may_read_its_peers_and_no_further() -> None:
    rules = access(
        {"claims": {"sub": "a"}, "namespaces": "a", "verbs": ["decode", "encode"]},
        {"claims": {"sub": "c"}, "namespaces": "c"},
        peers={"a": ["b", "team-*"], "b": ["c"]},
    )
    reader = rules.of(somebody(sub="a"))
    assert reader.may("decode", "b")
    assert reader.may("decode", "team-x")
    assert not reader.may("decode", "c")  # a peer's peer
    assert not reader.may("encode", "b")
    assert not reader.may("download", "b")  # only what may be done in ``a`` itself
    assert not rules.of(somebody(sub="c")).may("decode", "a")


def test_who_may_read_a_namespace_may_read_what_it_was_called_before() -> None:
    rules = access(
        {"claims": {"sub": "new"}, "namespaces": "new", "verbs": ["decode", "encode"]},
        {"claims": {"sub": "a"}, "namespaces": "a"},
        {"claims": {"sub": "old"}, "namespaces": "old"},
        peers={"a": "new"},
        aliases={"old": "new"},
    )
    reader = rules.of(somebody(sub="new"))
    assert reader.may("decode", "old")
    assert not reader.may("encode", "old")
    assert rules.of(somebody(sub="a")).may("decode", "old")
    assert not rules.of(somebody(sub="old")).may("decode", "new")


def test_without_auth_and_rules_everyone_may_do_everything_and_with_rules_what_they_say() -> None:
    everyone = Access(ServerConfig(), {}).of(Principal())
    assert all(everyone.may(verb, "any") for verb in ("decode", "encode", "download"))
    some = Access(ServerConfig(rules=[{"namespaces": "dev"}]), {}).of(Principal())
    assert (some.may("decode", "dev"), some.may("decode", "prod"), some.may("encode", "dev")) == (True, False, False)


@pytest.mark.parametrize(
    ("claims", "id_claims", "email"),
    [
        ({"email": "a"}, {}, "a"),
        ({"email": "a", "email_verified": True}, {}, "a"),
        ({"email": "a", "email_verified": "true"}, {}, "a"),
        ({"email": "a", "email_verified": False}, {}, ""),
        ({"email": "a", "email_verified": "false"}, {}, ""),
        ({"email": "a", "email_verified": None}, {}, ""),
        ({"email": ["a"]}, {}, ""),
        ({}, {"email": "i"}, "i"),
        ({}, {"email": "i", "email_verified": False}, ""),
        ({"email_verified": True}, {"email": "i", "email_verified": False}, ""),
        ({"email_verified": False}, {"email": "i", "email_verified": True}, "i"),
        ({"email": "a"}, {"email": "i", "email_verified": True}, "a"),
        ({"email": "a", "email_verified": False}, {"email": "i", "email_verified": True}, ""),
        ({"email": "a"}, {"email": "i", "email_verified": False}, "a"),
    ],
)
def test_an_address_counts_unless_its_own_token_says_that_it_is_unverified(
    claims: dict[str, Any], id_claims: dict[str, Any], email: str
) -> None:
    found = joined(claims, id_claims, "email")
    assert Principal("i", "s", found).email == email
    assert ("email" in found) is bool(email or isinstance(claims.get("email"), list))


def test_an_address_under_another_name_is_an_address() -> None:
    assert joined({"https://x/email": "a"}, {}, "https://x/email")["email"] == "a"
    found = joined({"https://x/email": "a", "email_verified": False}, {}, "https://x/email")
    assert "email" not in found
    assert "https://x/email" not in found
    assert joined({"https://x/email": "a"}, {"email": "i"}, "https://x/email")["email"] == "a"


def test_an_id_token_adds_what_the_access_token_lacks_and_nothing_that_a_token_is_for() -> None:
    id_claims = {
        "sub": "s2",
        "iss": "i2",
        "scope": "all",
        "scp": "all",
        "aud": "x",
        "exp": 1,
        "groups": ["g"],
        "name": "n",
    }
    found = joined({"sub": "s", "iss": "i", "groups": []}, id_claims, "email")
    assert found == {"sub": "s", "iss": "i", "groups": [], "name": "n"}
