"""A rule: who may do what in which namespaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import Field

from envelope_codec._grammar import OneOrMore
from envelope_codec.server.setting import Patterns, SettingsTable

Verb = Literal["decode", "encode", "download"]

_SPACED = ("scope", "scp")  # claims that list several values in one text


class Rule(SettingsTable):
    """A rule that allows callers whose token has all its claims to do its verbs in its namespaces."""

    claims: dict[str, Patterns] = Field(
        {},
        description="Claims that the token must have. Each has a name, or a path with dots, and a pattern, or a list "
        "of patterns of which one must fit. In a claim that is a list, one entry must fit. Without claims, the rule is "
        "for every caller.",
    )
    namespaces: Patterns = Field(min_length=1, description="Namespaces that the rule is for, by name or pattern.")
    verbs: Annotated[tuple[Verb, ...], OneOrMore] = Field(
        ("decode", "download"), min_length=1, description="What the rule allows: `decode`, `encode`, `download`."
    )

    def fits(self, claims: Mapping[str, Any]) -> bool:
        """Return whether the rule is for a caller with these claims."""
        return all(
            any(fnmatchcase(value, pattern) for value in values_of_claim(claims, name) for pattern in patterns)
            for name, patterns in self.claims.items()
        )

    def covers(self, namespace: str) -> bool:
        """Return whether the rule is for this namespace."""
        return covers(self.namespaces, namespace)


def covers(patterns: tuple[str, ...], namespace: str) -> bool:
    """Return whether one of ``patterns`` fits ``namespace``."""
    return any(fnmatchcase(namespace, pattern) for pattern in patterns)


def values_of_claim(claims: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield the values of a claim, as texts: none, one, or those of a list.

    ``a.b`` stands for ``b`` in ``a``, unless there is a claim with that name.
    """
    found = _find_claim(claims, name)
    if isinstance(found, str) and name in _SPACED:
        found = found.split()
    for value in found if isinstance(found, (list, tuple)) else [found]:
        if isinstance(value, bool):
            yield "true" if value else "false"
        elif isinstance(value, (str, int)):
            yield str(value)


def _find_claim(claims: Mapping[str, Any], name: str) -> Any:
    found: Any = claims.get(name)
    if found is None:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    return found
