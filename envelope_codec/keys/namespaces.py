"""Which master keys a namespace has: by its name, by a pattern, by default, or as a function says."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, cast

from cachetools import LRUCache

from envelope_codec._frames import text_of
from envelope_codec._process import renew_after_fork
from envelope_codec.errors import ConfigurationError, EnvelopeError, KeyNotConfigured
from envelope_codec.keys.keyset import KeySet, SealingContext
from envelope_codec.kms import MasterKey, master_key
from envelope_codec.observe import logger

if TYPE_CHECKING:
    from envelope_codec.config import EnvelopeConfig, NamespaceKeys

_RESOLVED = 10_000  # key sets from a resolver that are remembered
_LONGEST_PATTERN = 256


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

    def __init__(self, config: EnvelopeConfig) -> None:
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

    def _usual(self, namespace: str) -> str | None:
        listed = self._listed(namespace)
        if listed is not None:
            return listed
        kept = any(fnmatchcase(namespace, pattern) for pattern in self._required)
        return "" if self._has_default and not kept else None

    def _listed(self, namespace: str) -> str | None:
        if namespace in self._exact:
            return namespace
        return next((pattern for pattern in self._patterns if fnmatchcase(namespace, pattern)), None)


class KeySets:
    """The key sets of a configuration.

    Attributes:
        built: the master keys that were built from key URIs, for whoever closes them.

    Raises:
        ConfigurationError: a key URI is wrong, its provider is not installed, or two settings name one master key.
    """

    _lock: threading.Lock

    def __init__(self, config: EnvelopeConfig) -> None:
        self._masters: dict[str, MasterKey] = {}
        renew_after_fork(self, _lock=threading.Lock)
        self.built: Collection[MasterKey] = self._masters.values()
        self._entries = Entries(config)
        self._sets: dict[str | None, KeySet] = {"": self._build(config, "")} if config.key is not None else {}
        self._sets |= {name: self._build(keys, f"namespaces.{name}.") for name, keys in config.namespaces.items()}
        self._resolver = config.resolver
        self._resolved: LRUCache[Any, KeySet] = LRUCache(_RESOLVED)
        # Bounded: whoever makes up namespaces must not fill the memory.
        self.sealing = lru_cache(maxsize=10_000)(self._sealing)
        self.opening = lru_cache(maxsize=10_000)(self._opening)

    def resolved(self, context: SealingContext) -> KeySet | None:
        """What the resolver says of ``context``; None for the namespace's usual key set.

        Raises:
            KeyNotConfigured: the resolver failed, or its answer is of no use. The log has the details.
        """
        try:
            keys = self._resolver(context)
            return None if keys is None else self._of(keys)
        except ConfigurationError as error:
            text = "the resolver's answer for namespace %.200r can't be used, and nothing is sealed there: %s"
            logger.error(text, context.namespace, error)
        except (EnvelopeError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a CancelledError of its own among them, which would leave a run stuck
            text = (
                "the resolver failed for namespace %.200r, so nothing is sealed there until it gives a key or None: %s"
            )
            logger.error(text, context.namespace, text_of(error))
        raise KeyNotConfigured("the resolver gave no master key to seal with", operation="seal")

    def _sealing(self, namespace: str) -> KeySet | None:
        return self._sets.get(self._entries.sealing(namespace))

    def _opening(self, namespace: str) -> KeySet | None:
        return self._sets.get(self._entries.opening(namespace))

    def _of(self, keys: NamespaceKeys | MasterKey | str) -> KeySet:
        if isinstance(keys, (str, MasterKey)):
            name: Any = _identity(keys)
        else:
            lists = (tuple(map(_identity, group)) for group in ((keys.key,), keys.backup_keys, keys.decrypt_keys))
            name = (*lists, tuple(sorted(keys.context.items())), keys.min_recipients, keys.lease)
        with self._lock:
            found = self._resolved.get(name)
        if found is None:
            # Without the lock: to build a master key may import its provider and read files, for as long as it takes.
            if isinstance(keys, (str, MasterKey)):
                built = KeySet(self._one(keys, "resolver"), place="resolver: ")
            else:
                built = self._build(keys, "resolver: ")
            with self._lock:
                found = self._resolved.setdefault(name, built)
        return found

    def _build(self, keys: NamespaceKeys | EnvelopeConfig, place: str) -> KeySet:
        built = KeySet(
            self._one(keys.key, f"{place}key"),
            tuple(self._one(key, f"{place}backup_keys[{number}]") for number, key in enumerate(keys.backup_keys)),
            tuple(self._one(key, f"{place}decrypt_keys[{number}]") for number, key in enumerate(keys.decrypt_keys)),
            dict(keys.context),
            keys.min_recipients,
            place,
            keys.lease if place else None,  # the general one is the keyring's own
        )
        ids = [master.key_id for master in (*built.sealing, *built.decrypt_keys)]
        for key_id in ids:
            if ids.count(key_id) > 1:
                raise ConfigurationError(
                    f"{place}decrypt_keys: two of key, backup_keys and decrypt_keys name one master key, {key_id}; "
                    "list it once"
                )
        return built

    def _one(self, key: Any, setting: str) -> MasterKey:
        if not isinstance(key, str):
            return cast(MasterKey, key)
        found = self._masters.get(key)
        if found is None:
            try:
                built = master_key(key)
            except ConfigurationError as error:
                raise ConfigurationError(f"{setting}: {error}") from error.__cause__
            found = self._masters.setdefault(key, built)
            if found is not built:  # another thread was faster
                built.close()
        return found


def _identity(key: MasterKey | str) -> object:
    return key if isinstance(key, str) else id(key)
