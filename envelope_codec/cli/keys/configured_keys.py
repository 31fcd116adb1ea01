"""The master keys that a configuration has for a namespace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import Purpose
from envelope_codec.keys.key_sets import keys_of_entry, list_keys
from envelope_codec.keys.namespaces import Entries, is_pattern


class NothingToExamine(Exception):
    """The configuration names no namespace. The text is one line, and says what to do."""


@dataclass(frozen=True)
class ConfiguredKey:
    """A master key as it is configured for one namespace.

    Attributes:
        namespace: the namespace.
        setting: its name in the configuration, such as ``namespaces.prod.backup_keys[0]``.
        given: a key URI, or a `MasterKey`.
        seals: whether it is to wrap as well as to unwrap.
        context: names and values that are bound to what it wraps, besides the namespace.
    """

    namespace: str
    setting: str
    given: Any
    seals: bool
    context: Mapping[str, str]


def namespaces_of(config: EnvelopeConfig, default: str | None) -> list[str]:
    """List the namespaces to examine where nobody names any: ``default``, and those that are listed by name.

    Without a ``default``, the namespace "default" is taken, if the default key serves it.

    Raises:
        NothingToExamine: there are none, because all are listed by pattern.
    """
    own = default or ("default" if sealing_keys(config, "default") else None)
    names = [own] if own else []
    names += [name for name in config.namespaces if name != own and not is_pattern(name)]
    if not names:
        raise NothingToExamine("namespaces are listed by pattern alone: name those to examine with --namespace")
    return names


def sealing_keys(config: EnvelopeConfig, namespace: str) -> list[ConfiguredKey]:
    """List all master keys of ``namespace``. Empty where none is configured. `KeySets` finds the same keys."""
    return _keys_of(config, namespace, Entries(config).sealing(namespace))


def opening_keys(config: EnvelopeConfig, namespace: str) -> list[ConfiguredKey]:
    """List the master keys that open what was sealed for ``namespace``, which may be an old name."""
    return _keys_of(config, namespace, Entries(config).opening(namespace))


def purpose_of(config: EnvelopeConfig) -> Purpose:
    """Return the purpose of new records. The KMS gets it in its context, so that a policy may require it."""
    if config.wrapping == "direct":
        return Purpose.DATA_KEY
    shares = config.share_wrapping_keys and config.verify_wraps
    return Purpose.SHARED_WRAPPING_KEY if shares else Purpose.WRAPPING_KEY


def _keys_of(config: EnvelopeConfig, namespace: str, entry: str | None) -> list[ConfiguredKey]:
    if entry is None:
        return []
    prefix, keys = keys_of_entry(config, entry)
    return [
        ConfiguredKey(namespace, one.setting, one.given, one.seals, keys.context) for one in list_keys(prefix, keys)
    ]
