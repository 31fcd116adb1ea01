"""Names of namespaces: which entry of the configuration has the keys of a namespace."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Protocol

_LONGEST_PATTERN = 256  # characters


class ConfiguredNamespaces(Protocol):
    """The settings that say which keys a namespace has. `envelope_codec.config.EnvelopeConfig` has them.

    Attributes:
        key: the default key, or None.
        namespaces: keys of single namespaces, by name or pattern.
        required: names or patterns of namespaces that never get the default key; True for all.
        namespace_aliases: old names, and the new name of each.
    """

    @property
    def key(self) -> object: ...

    @property
    def namespaces(self) -> Mapping[str, object]: ...

    @property
    def required(self) -> bool | tuple[str, ...]: ...

    @property
    def namespace_aliases(self) -> Mapping[str, str]: ...


def is_pattern(name: str) -> bool:
    """Whether ``name`` stands for many names: ``*`` for any characters, ``?`` for one."""
    return "*" in name or "?" in name


def fits_all(pattern: str) -> bool:
    """Whether ``pattern`` names nothing: a default key in other words."""
    return not pattern.strip("*?")


def overlap(one: str, other: str) -> bool:
    """Whether there is a name that both patterns stand for."""

    @cache
    def rest(i: int, j: int) -> bool:
        if i == len(one) and j == len(other):
            return True
        if i < len(one) and one[i] == "*":
            return rest(i + 1, j) or (j < len(other) and rest(i, j + 1))
        if j < len(other) and other[j] == "*":
            return rest(i, j + 1) or (i < len(one) and rest(i + 1, j))
        if i == len(one) or j == len(other):
            return False
        return (one[i] == other[j] or "?" in (one[i], other[j])) and rest(i + 1, j + 1)

    return rest(0, 0)


def check_patterns(names: Iterable[str], required: Iterable[str] = ()) -> None:
    """Raises ValueError for a pattern of no use, or if two among ``names`` may fit one namespace."""
    patterns = [name for name in names if is_pattern(name)]
    for setting, listed in (("namespaces", patterns), ("required", required)):
        for pattern in listed:
            if not pattern or "[" in pattern or len(pattern) > _LONGEST_PATTERN:
                raise ValueError(
                    f"{setting}: {pattern!r} is no pattern: give up to {_LONGEST_PATTERN} characters, with * for any "
                    "number of others and ? for one"
                )
    for one, other in itertools.combinations(patterns, 2):
        if overlap(one, other):
            raise ValueError(f"namespaces: the patterns {one!r} and {other!r} may fit one namespace; tell them apart")


class Entries:
    """Where a namespace's keys are configured: an entry of `namespaces`, ``""`` for the default key, or None."""

    def __init__(self, config: ConfiguredNamespaces) -> None:
        self._exact = {name for name in config.namespaces if not is_pattern(name)}
        self._patterns = [name for name in config.namespaces if is_pattern(name)]
        self._required = ("*",) if config.required is True else config.required or ()
        self._has_default = config.key is not None
        self._aliases = dict(config.namespace_aliases)

    def opening(self, namespace: str) -> str | None:
        """Of the keys that open what was sealed in ``namespace``, which may have another name by now.

        For an old name: an entry of its own, else what the new name has. The default key never counts as the old
        name's, nor does a pattern that fits all: whoever may use it could forge for a new name with keys of its own.
        """
        alias = self._aliases.get(namespace)
        if alias is None:
            return self._usual(namespace)
        listed = self._listed(namespace)
        return self._usual(alias) if listed is None or fits_all(listed) else listed

    def sealing(self, namespace: str) -> str | None:
        """Of the keys that seal in ``namespace``: none for an old name whose keys would not open what they seal."""
        usual = self._usual(namespace)
        return usual if namespace not in self._aliases or usual == self.opening(namespace) else None

    def is_required(self, namespace: str) -> bool:
        """Whether ``namespace`` must have keys of its own, and never gets the default key."""
        return any(fnmatchcase(namespace, pattern) for pattern in self._required)

    def _usual(self, namespace: str) -> str | None:
        listed = self._listed(namespace)
        if listed is not None:
            return listed
        return "" if self._has_default and not self.is_required(namespace) else None

    def _listed(self, namespace: str) -> str | None:
        if namespace in self._exact:
            return namespace
        return next((pattern for pattern in self._patterns if fnmatchcase(namespace, pattern)), None)
