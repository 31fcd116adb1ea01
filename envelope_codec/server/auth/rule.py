"""Rules: who may do what in which namespaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import Field

from envelope_codec._grammar import OneOrMore
from envelope_codec.server.setting import Patterns, Settings

Verb = Literal["decode", "encode", "download"]

_SPACED = ("scope", "scp")  # claims that list several values in one text


class Rule(Settings):
    """Lets those whose token has all these claims do this there."""

    claims: dict[str, Patterns] = Field(
        {},
        description="Claims of the token, by name or by a path with dots, and what they must be: a pattern, or a list "
        "of which one must fit. Of a claim that is a list, one value must fit. All that are named must fit; with none, "
        "the rule is for every caller.",
    )
    namespaces: Patterns = Field(min_length=1, description="Namespaces, by name or pattern.")
    verbs: Annotated[tuple[Verb, ...], OneOrMore] = Field(
        default=("decode", "download"),
        min_length=1,
        description="What may be done there: `decode`, `encode`, `download`.",
    )

    def fits(self, claims: Mapping[str, Any]) -> bool:
        """Whether it is for a caller with these claims."""
        return all(
            any(fnmatchcase(value, pattern) for value in claim_values(claims, name) for pattern in patterns)
            for name, patterns in self.claims.items()
        )

    def covers(self, namespace: str) -> bool:
        """Whether it is for this namespace."""
        return covers(self.namespaces, namespace)


def covers(patterns: tuple[str, ...], namespace: str) -> bool:
    """Whether one of ``patterns`` fits ``namespace``."""
    return any(fnmatchcase(namespace, pattern) for pattern in patterns)


def claim_values(claims: Mapping[str, Any], name: str) -> Iterator[str]:
    """The values of a claim, as texts: none, one, or those of a list.

    ``a.b`` is ``b`` in ``a``, if no claim has that name.
    """
    found: Any = claims.get(name)
    if found is None:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str) and name in _SPACED:
        found = found.split()
    for value in found if isinstance(found, (list, tuple)) else [found]:
        if isinstance(value, bool):
            yield "true" if value else "false"
        elif isinstance(value, (str, int)):
            yield str(value)
