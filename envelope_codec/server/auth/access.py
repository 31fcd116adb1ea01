"""Who may do what: rules, peers and former names of namespaces, put together for one caller."""

from __future__ import annotations

from collections.abc import Mapping

from envelope_codec.server.auth.principal import Principal
from envelope_codec.server.auth.rule import Rule, Verb, covers
from envelope_codec.server.config import ServerConfig

_EVERYONE = (Rule(claims={}, namespaces=("*",), verbs=("decode", "encode", "download")),)


class Access:
    """The rules of a server.

    Args:
        server: its settings. Without ``auth`` and ``rules``, everyone may do everything.
        aliases: old name = new name of namespaces: who may read the new may read the old.
    """

    def __init__(self, server: ServerConfig, aliases: Mapping[str, str]) -> None:
        self._rules = server.rules if server.rules or server.auth else _EVERYONE
        self._peers = dict(server.peers)
        self._aliases = dict(aliases)

    def of(self, principal: Principal) -> Grants:
        """What ``principal`` may do."""
        return Grants([rule for rule in self._rules if rule.fits(principal.claims)], self._peers, self._aliases)


class Grants:
    """What one caller may do. For one request: it remembers its answers."""

    def __init__(self, rules: list[Rule], peers: Mapping[str, tuple[str, ...]], aliases: Mapping[str, str]) -> None:
        self._rules = rules
        self._peers = peers
        self._aliases = aliases
        self._known: dict[tuple[Verb, str], bool] = {}

    def any(self, verb: Verb) -> bool:
        """Whether there is a namespace where this may be done."""
        return any(verb in rule.verbs for rule in self._rules)

    def may(self, verb: Verb, namespace: str) -> bool:
        """Whether this may be done with what ``namespace`` sealed, or is to seal."""
        known = self._known.get((verb, namespace))
        if known is None:
            known = self._known[(verb, namespace)] = self._find(verb, namespace)
        return known

    def _find(self, verb: Verb, namespace: str) -> bool:
        if verb == "encode":
            return self._by_rule(verb, namespace)
        names = [namespace, self._aliases.get(namespace)]
        return any(self._by_rule(verb, name) or self._by_peer(verb, name) for name in names if name is not None)

    def _by_rule(self, verb: Verb, namespace: str) -> bool:
        return any(verb in rule.verbs and rule.covers(namespace) for rule in self._rules)

    def _by_peer(self, verb: Verb, namespace: str) -> bool:
        return any(
            covers(patterns, namespace) and self._by_rule(verb, reader) for reader, patterns in self._peers.items()
        )
