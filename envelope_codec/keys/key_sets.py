"""The key sets of a configuration: which master keys seal and open for a namespace."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, cast

from cachetools import LRUCache

from envelope_codec._frames import text_of
from envelope_codec._process import renew_after_fork
from envelope_codec.errors import ConfigurationError, EnvelopeError, KeyNotConfigured
from envelope_codec.keys.keyset import ForeignMaster, KeySet, SealingContext
from envelope_codec.keys.namespaces import ConfiguredNamespaces, Entries
from envelope_codec.kms import MasterKey, master_key, show_key
from envelope_codec.observe import logger

_RESOLVED = 10_000  # key sets from a resolver that are remembered
_LOOKED_UP = 10_000  # namespaces whose entry is remembered: whoever makes up namespaces must not fill the memory


class ConfiguredKeys(Protocol):
    """The settings of one key set. Keys are key URIs or `MasterKey` objects.

    Attributes:
        key: seals, and opens.
        backup_keys: wrap the same wrapping keys.
        decrypt_keys: open only.
        context: names and values to bind to whatever is sealed, beside the namespace.
        min_recipients: how many of `key` and `backup_keys` must wrap before a wrapping key may seal.
        lease: seconds for which a success vouches for one of these master keys; None for the general lease.

    An object may have ``temporal_proxy_keys`` besides: what Temporal's proxy calls its master keys, each with the keys
    that open what it sealed under that name.
    """

    @property
    def key(self) -> object: ...

    @property
    def backup_keys(self) -> tuple[object, ...]: ...

    @property
    def decrypt_keys(self) -> tuple[object, ...]: ...

    @property
    def context(self) -> Mapping[str, str]: ...

    @property
    def min_recipients(self) -> int: ...

    @property
    def lease(self) -> float | None: ...


class Configured(ConfiguredKeys, ConfiguredNamespaces, Protocol):
    """All settings from which key sets are made. `envelope_codec.config.EnvelopeConfig` has them."""

    @property
    def namespaces(self) -> Mapping[str, ConfiguredKeys]: ...

    @property
    def resolver(self) -> Any: ...


class ListedKey(NamedTuple):
    """One key of a key set, as the configuration has it.

    Attributes:
        setting: its name, such as ``namespaces.prod.backup_keys[0]``.
        given: a key URI or a `MasterKey`.
        seals: whether it wraps, or opens only.
    """

    setting: str
    given: object
    seals: bool


def keys_of_entry(config: Configured, entry: str) -> tuple[str, ConfiguredKeys]:
    """Return the keys of an entry that `Entries` has found, and what stands before ``key`` in the setting's name."""
    return ("", config) if entry == "" else (f"namespaces.{entry}.", config.namespaces[entry])


def list_keys(prefix: str, keys: ConfiguredKeys) -> list[ListedKey]:
    """List the keys of a key set: those that wrap first, ``key`` before all."""
    backups = enumerate(keys.backup_keys)
    others = enumerate(keys.decrypt_keys)
    return [
        ListedKey(f"{prefix}key", keys.key, True),
        *(ListedKey(f"{prefix}backup_keys[{number}]", given, True) for number, given in backups),
        *(ListedKey(f"{prefix}decrypt_keys[{number}]", given, False) for number, given in others),
    ]


class KeySets:
    """The key sets of a configuration.

    Attributes:
        built: the master keys that were built from key URIs, for whoever closes them.

    Raises:
        ConfigurationError: a key URI is wrong, its provider is not installed, or two settings name one master key.
    """

    _lock: threading.Lock

    def __init__(self, config: Configured) -> None:
        self._masters: dict[str, MasterKey] = {}
        renew_after_fork(self, _lock=threading.Lock)
        self.built: Collection[MasterKey] = self._masters.values()
        lookups = Entries(config)  # each goes through all patterns
        self._sealing_entry = lru_cache(_LOOKED_UP)(lookups.sealing)
        self._opening_entry = lru_cache(_LOOKED_UP)(lookups.opening)
        entries = ["", *config.namespaces] if config.key is not None else [*config.namespaces]
        self._sets: dict[str | None, KeySet] = {entry: self._build(*keys_of_entry(config, entry)) for entry in entries}
        self._resolver = config.resolver
        self._resolved: LRUCache[Any, KeySet] = LRUCache(_RESOLVED)

    def sealing(self, namespace: str) -> KeySet | None:
        """Return the master keys that seal in ``namespace``; None where none are configured."""
        return self._sets.get(self._sealing_entry(namespace))

    def opening(self, namespace: str) -> KeySet | None:
        """Return the master keys that open what was sealed in ``namespace``, which may be an old name."""
        return self._sets.get(self._opening_entry(namespace))

    def resolve(self, context: SealingContext) -> KeySet | None:
        """Return the key set that the resolver chooses for ``context``; None for the namespace's usual one.

        Raises:
            KeyNotConfigured: the resolver failed, or its answer is of no use. The log has the details.
        """
        try:
            keys = self._resolver(context)
            return None if keys is None else self._resolve_keys(keys)
        except ConfigurationError as error:
            text = "the resolver's answer for namespace %.200r can't be used, and nothing is sealed there: %s"
            logger.error(text, context.namespace, error)
        except (EnvelopeError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # also a CancelledError of its own: that would leave a run stuck
            text = (
                "the resolver failed for namespace %.200r, so nothing is sealed there until it gives a key or None: %s"
            )
            logger.error(text, context.namespace, text_of(error))
        raise KeyNotConfigured("the resolver gave no master key to seal with", operation="seal")

    def _resolve_keys(self, keys: ConfiguredKeys | MasterKey | str) -> KeySet:
        if isinstance(keys, (str, MasterKey)):
            identity: Any = _identity(keys)
        else:
            lists = (tuple(map(_identity, group)) for group in ((keys.key,), keys.backup_keys, keys.decrypt_keys))
            identity = (*lists, tuple(sorted(keys.context.items())), keys.min_recipients, keys.lease)
        with self._lock:
            found = self._resolved.get(identity)
        if found is None:
            # Without the lock: to build a master key may take long, as it may import a provider and read files.
            if isinstance(keys, (str, MasterKey)):
                built = KeySet(self._master_key(keys, "resolver"), prefix="resolver: ")
            else:
                built = self._build("resolver: ", keys)
            with self._lock:
                found = self._resolved.setdefault(identity, built)
        return found

    def _build(self, prefix: str, keys: ConfiguredKeys) -> KeySet:
        listed = list_keys(prefix, keys)
        masters = [self._master_key(key.given, key.setting) for key in listed]
        sealing = sum(key.seals for key in listed)
        built = KeySet(
            masters[0],
            tuple(masters[1:sealing]),
            tuple(masters[sealing:]),
            dict(keys.context),
            keys.min_recipients,
            prefix,
            keys.lease if prefix else None,  # the general `lease` is the keyring's own
            self._foreign(prefix, getattr(keys, "temporal_proxy_keys", {})),
        )
        ids = [master.key_id for master in (*built.sealing, *built.decrypt_keys)]
        for key_id in ids:
            if ids.count(key_id) > 1:
                raise ConfigurationError(
                    f"{prefix}decrypt_keys: two of key, backup_keys and decrypt_keys name one master key, {key_id}; "
                    "list it once"
                )
        return built

    def _foreign(self, prefix: str, given: Mapping[str, tuple[object, ...]]) -> dict[str, tuple[ForeignMaster, ...]]:
        foreign: dict[str, tuple[ForeignMaster, ...]] = {}
        for uri, keys in given.items():
            setting = f"{prefix}temporal_proxy_keys.{show_key(uri)}"
            masters = [self._master_key(key, setting) for key in keys]
            foreign[uri] = tuple(foreign_master(master, uri, setting) for master in masters)
        return foreign

    def _master_key(self, key: Any, setting: str) -> MasterKey:
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


def foreign_master(master: MasterKey, uri: str, setting: str) -> ForeignMaster:
    """Return ``master`` as it opens what another program, which calls it ``uri``, had wrapped by it.

    Raises:
        ConfigurationError: it is another master key, or of a kind that does not open such things.
    """
    make = getattr(master, "proxy_unwrapper", None)
    if make is None:
        raise ConfigurationError(f"{setting}: Temporal's proxy seals under no keys of this kind: {master.key_id}")
    try:
        return ForeignMaster(master, make(uri))
    except ConfigurationError as error:
        raise ConfigurationError(f"{setting}: {error}") from None


def _identity(key: object) -> object:
    return key if isinstance(key, str) else id(key)
