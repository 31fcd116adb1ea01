"""A server in words: what it opens, and for whom. The start banner says it, and so does the start page."""

from __future__ import annotations

from collections.abc import Iterator

from envelope_codec.config import EnvelopeConfig
from envelope_codec.server.auth.rule import Rule
from envelope_codec.server.config import ServerConfig

_MOST = 20  # rules that are told one by one


def describe_namespaces(config: EnvelopeConfig) -> str:
    """Return for which namespaces there are keys."""
    names = ", ".join(config.namespaces)
    if config.key is None:
        return names
    return f"every namespace; {names} with keys of their own" if names else "every namespace"


def describe_callers(server: ServerConfig) -> str:
    """Return who may use the server."""
    number = len(server.rules)
    rules = f", as {number} rules allow" if number != 1 else ", as 1 rule allows"
    if server.wants_tokens:
        issuers = [issuer.issuer for issuer in server.auth] + ["a token file"] * bool(server.token_files)
        return f"callers with a token of {' or '.join(issuers)}{rules}"
    where = "this machine" if server.on_loopback else "the network"
    return f"everyone on {where}{rules}" if server.rules else f"everyone on {where}"


def describe_rules(server: ServerConfig, *, with_patterns: bool) -> Iterator[str]:
    """Yield what the rules allow, and the peers.

    Args:
        server: the settings.
        with_patterns: whether to tell which claims fit. They may be people's addresses, which are not for everybody.
    """
    for rule in server.rules[:_MOST]:
        yield _describe_rule(rule, with_patterns)
    if len(server.rules) > _MOST:
        yield f"and {len(server.rules) - _MOST} more rules"
    for reader, others in list(server.peers.items())[:_MOST]:
        yield f"who may read {reader} may read what {' or '.join(others)} sealed"
    if len(server.peers) > _MOST:
        yield f"and {len(server.peers) - _MOST} more namespaces with peers"


def describe_origins(server: ServerConfig) -> str:
    """Return whose pages may use the server."""
    return ", ".join(server.origins) if server.origins else "no Web UI: name its origin as server.origins"


def _describe_rule(rule: Rule, with_patterns: bool) -> str:
    what = f"{_join(rule.verbs, 'and')} in {_join(rule.namespaces, 'and')}"
    if not rule.claims:
        return f"{what}: every caller"
    fits = [
        f"{name} is {_join(patterns, 'or')}" if with_patterns else f"{name} is as the settings say"
        for name, patterns in rule.claims.items()
    ]
    return f"{what}: callers whose {_join(tuple(fits), 'and')}"


def _join(words: tuple[str, ...], last: str) -> str:
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
