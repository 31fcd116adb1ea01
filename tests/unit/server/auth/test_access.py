"""Who may do what: rules, peers, and former names of namespaces."""

from __future__ import annotations

from typing import Any

from envelope_codec.server import ServerConfig
from envelope_codec.server.auth.access import Access
from envelope_codec.server.auth.principal import Principal

CLOUD = {"issuer": "temporal-cloud"}


def access(*rules: dict[str, Any], peers: Any = None, aliases: dict[str, str] | None = None) -> Access:
    return Access(ServerConfig(auth=[CLOUD], rules=rules, peers=peers or {}), aliases or {})


def somebody(**claims: Any) -> Principal:
    return Principal("https://login.tmprl.cloud/", "ada", claims)


def test_nobody_may_do_what_no_rule_allows() -> None:
    rules = access(
        {"claims": {"groups": "dev"}, "namespaces": ["dev-*", "shared"], "verbs": ["decode", "encode"]},
        {"claims": {"groups": "ops"}, "namespaces": "*"},
    )
    dev, ops, none = (rules.grants_of(somebody(groups=groups)) for groups in (["dev"], ["ops"], []))
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
    both = rules.grants_of(somebody(groups=["dev", "ops"]))
    assert (both.may("encode", "dev-1"), both.may("encode", "prod"), both.may("decode", "prod")) == (True, False, True)


def test_readers_of_a_namespace_may_read_its_peers_and_no_further() -> None:
    rules = access(
        {"claims": {"sub": "a"}, "namespaces": "a", "verbs": ["decode", "encode"]},
        {"claims": {"sub": "c"}, "namespaces": "c"},
        peers={"a": ["b", "team-*"], "b": ["c"]},
    )
    reader = rules.grants_of(somebody(sub="a"))
    assert reader.may("decode", "b")
    assert reader.may("decode", "team-x")
    assert not reader.may("decode", "c")  # a peer's peer
    assert not reader.may("encode", "b")
    assert not reader.may("download", "b")  # only what may be done in ``a`` itself
    assert not rules.grants_of(somebody(sub="c")).may("decode", "a")


def test_who_may_read_a_namespace_may_read_what_it_was_called_before() -> None:
    rules = access(
        {"claims": {"sub": "new"}, "namespaces": "new", "verbs": ["decode", "encode"]},
        {"claims": {"sub": "a"}, "namespaces": "a"},
        {"claims": {"sub": "old"}, "namespaces": "old"},
        peers={"a": "new"},
        aliases={"old": "new"},
    )
    reader = rules.grants_of(somebody(sub="new"))
    assert reader.may("decode", "old")
    assert not reader.may("encode", "old")
    assert rules.grants_of(somebody(sub="a")).may("decode", "old")
    assert not rules.grants_of(somebody(sub="old")).may("decode", "new")


def test_without_auth_and_rules_everyone_may_do_everything_and_with_rules_what_they_say() -> None:
    everyone = Access(ServerConfig(), {}).grants_of(Principal())
    assert all(everyone.may(verb, "any") for verb in ("decode", "encode", "download"))
    some = Access(ServerConfig(rules=[{"namespaces": "dev"}]), {}).grants_of(Principal())
    assert (some.may("decode", "dev"), some.may("decode", "prod"), some.may("encode", "dev")) == (True, False, False)
