"""The permissions of callers, by rules, by peers of namespaces, and by namespaces' former names."""

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
        aliases: old names of namespaces, each with its new name. Who may read the new namespace may read the old one.
    """

    def __init__(self, server: ServerConfig, aliases: Mapping[str, str]) -> None:
        self._rules = server.rules if server.rules or server.wants_tokens else _EVERYONE
        self._peers = dict(server.peers)
        self._aliases = dict(aliases)

    def grants_of(self, principal: Principal) -> Grants:
        """Return what ``principal`` may do."""
        return Grants([rule for rule in self._rules if rule.fits(principal.claims)], self._peers, self._aliases)


class Grants:
    """The permissions of one caller, for one request. Answers are remembered."""

    def __init__(self, rules: list[Rule], peers: Mapping[str, tuple[str, ...]], aliases: Mapping[str, str]) -> None:
        self._rules = rules
        self._peers = peers
        self._aliases = aliases
        self._answers: dict[tuple[Verb, str], bool] = {}

    def any(self, verb: Verb) -> bool:
        """Return whether the caller may do ``verb`` in any namespace."""
        return any(verb in rule.verbs for rule in self._rules)

    def may(self, verb: Verb, namespace: str) -> bool:
        """Return whether the caller may do ``verb`` with payloads of ``namespace``."""
        answer = self._answers.get((verb, namespace))
        if answer is None:
            answer = self._answers[(verb, namespace)] = self._decide(verb, namespace)
        return answer

    def _decide(self, verb: Verb, namespace: str) -> bool:
        if verb == "encode":
            return self._allowed_by_rule(verb, namespace)
        names = [namespace, self._aliases.get(namespace)]
        return any(
            self._allowed_by_rule(verb, name) or self._allowed_by_peer(verb, name) for name in names if name is not None
        )

    def _allowed_by_rule(self, verb: Verb, namespace: str) -> bool:
        return any(verb in rule.verbs and rule.covers(namespace) for rule in self._rules)

    def _allowed_by_peer(self, verb: Verb, namespace: str) -> bool:
        return any(
            covers(patterns, namespace) and self._allowed_by_rule(verb, reader)
            for reader, patterns in self._peers.items()
        )
