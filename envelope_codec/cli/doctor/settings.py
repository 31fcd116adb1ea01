"""The configuration that the doctor examines, and what it thinks of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from envelope_codec.cli.doctor.finding import Code, Finding, advice, problem
from envelope_codec.config import EnvelopeConfig, NamespaceKeys
from envelope_codec.envelope import NAMESPACE, Purpose, record_head
from envelope_codec.errors import MalformedEnvelope
from envelope_codec.keys.namespaces import Entries, is_pattern
from envelope_codec.temporal.legacy import load_legacy_codecs

_OURS = "ENVELOPE_CODEC_"


class NothingConfigured(Exception):
    """There is no configuration to examine."""


@dataclass(frozen=True)
class Settings:
    """A valid configuration, and where it comes from."""

    config: EnvelopeConfig
    source: str


@dataclass(frozen=True)
class ConfiguredKey:
    """A master key as it is configured for one namespace.

    Attributes:
        namespace: the namespace.
        setting: its name in the configuration, such as ``namespaces.prod.backup_keys[0]``.
        given: a key URI, or a `MasterKey`.
        seals: whether it is to wrap too.
        context: further names and values that are bound to what it wraps.
    """

    namespace: str
    setting: str
    given: Any
    seals: bool
    context: Mapping[str, str]


def load_settings(key: str | None, file: str | None, environ: Mapping[str, str] | None = None) -> Settings:
    """The configuration from ``key``, else from ``file``, else from the environment.

    Raises:
        ConfigurationError: it is wrong.
        NothingConfigured: there is none.
    """
    variables = os.environ if environ is None else environ
    if key is not None:
        return Settings(EnvelopeConfig(key=key), "the key that was named")
    if file is not None:
        return Settings(load_legacy_codecs(EnvelopeConfig.from_file(file)), f"file {file}")
    if not any(name.startswith(_OURS) and not name.startswith(f"{_OURS}SERVER_") for name in variables):
        raise NothingConfigured(
            "nothing to examine: name a key, or a file with --config, or set ENVELOPE_CODEC_KEY or ENVELOPE_CODEC_FILE"
        )
    return Settings(load_legacy_codecs(EnvelopeConfig.from_env(variables)), "the environment, ENVELOPE_CODEC_*")


def namespaces_of(config: EnvelopeConfig, default: str | None) -> list[str]:
    """The namespaces to examine where none is named: ``default``, and those that are listed by name.

    Without a ``default``, "default" if the default key serves it.

    Raises:
        NothingConfigured: there are none, since all are listed by pattern.
    """
    own = default or ("default" if sealing_keys(config, "default") else None)
    names = [own] if own else []
    names += [name for name in config.namespaces if name != own and not is_pattern(name)]
    if not names:
        raise NothingConfigured("namespaces are listed by pattern alone: name those to examine with --namespace")
    return names


def sealing_keys(config: EnvelopeConfig, namespace: str) -> list[ConfiguredKey]:
    """The master keys of ``namespace``, all of them; none where none are configured. As `KeySets` finds them."""
    return _at(config, namespace, Entries(config).sealing(namespace))


def opening_keys(config: EnvelopeConfig, namespace: str) -> list[ConfiguredKey]:
    """The master keys that open what was sealed for ``namespace``, which may be an old name."""
    return _at(config, namespace, Entries(config).opening(namespace))


def _at(config: EnvelopeConfig, namespace: str, entry: str | None) -> list[ConfiguredKey]:
    if entry is None:
        return []
    if entry == "":
        return list(_listed(namespace, "", config))
    return list(_listed(namespace, f"namespaces.{entry}.", config.namespaces[entry]))


def is_required(config: EnvelopeConfig, namespace: str) -> bool:
    """Whether the default key is kept from ``namespace``."""
    if isinstance(config.required, bool):
        return config.required
    return any(fnmatchcase(namespace, pattern) for pattern in config.required)


def purpose_of(config: EnvelopeConfig) -> Purpose:
    """What records are made for: part of what the KMS is told, so that a policy may ask for it."""
    return Purpose.DATA_KEY if config.wrapping == "direct" else Purpose.WRAPPING_KEY


def configuration_findings(config: EnvelopeConfig, namespaces: Sequence[str]) -> Iterator[Finding]:
    """What can be said without asking anybody, but for `Code.require_encryption_off`, which depends."""
    for namespace in namespaces:
        keys = sealing_keys(config, namespace)
        try:
            record_head(purpose_of(config), 0, {**(keys[0].context if keys else {}), NAMESPACE: namespace})
        except MalformedEnvelope as error:
            yield problem(
                Code.namespace_unusable,
                namespace,
                f"this namespace, with the configured context, can't be bound to payloads: {error}",
                "shorten the context, or choose other names",
            )
            continue
        if not keys:
            yield problem(
                Code.namespace_without_key,
                namespace,
                "no master key is configured for this namespace"
                + (", and required keeps it off the default key" if is_required(config, namespace) else ""),
                "list it under namespaces, by name (letter by letter) or by a pattern, or set a default key",
            )
    if not config.sealing:
        yield advice(
            Code.sealing_off,
            "sealing",
            "sealing is off: envelopes are opened, but everything is written in clear",
            "set sealing = true once every client and worker has this codec",
        )
    if config.key is not None:
        yield advice(
            Code.default_key_for_all,
            "key",
            "the default key serves every namespace that is neither listed nor required",
            "list namespaces that must be kept apart under namespaces, each with a key of its own; name in required "
            "those that must never get the default key",
        )
    groups = {"": config, **{f"namespaces.{name}.": keys for name, keys in config.namespaces.items()}}
    for place, keys_of_group in groups.items():
        if keys_of_group.backup_keys and keys_of_group.min_recipients == 1:
            yield advice(
                Code.one_recipient_suffices,
                f"{place}min_recipients",
                "while the KMS of a backup key is out, payloads are sealed that it can't open",
                f"set min_recipients = {1 + len(keys_of_group.backup_keys)} if losing the main key must lose nothing; "
                "then nothing is sealed while one of them is out",
            )
    if config.wrapping == "direct":
        yield advice(
            Code.direct_mode,
            "wrapping",
            "direct mode: each payload costs a KMS call, and a replay of a few hundred can outlast its workflow task",
            'set wrapping = "wrapping-key" unless a rule of yours asks for direct mode',
        )


def _listed(namespace: str, place: str, keys: EnvelopeConfig | NamespaceKeys) -> Iterator[ConfiguredKey]:
    yield ConfiguredKey(namespace, f"{place}key", keys.key, True, keys.context)
    for name in ("backup_keys", "decrypt_keys"):
        for index, given in enumerate(getattr(keys, name)):
            setting = f"{place}{name}[{index}]"
            yield ConfiguredKey(namespace, setting, given, name == "backup_keys", keys.context)
