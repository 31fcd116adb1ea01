"""What can be said of a configuration without asking anybody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from envelope_codec.cli.doctor.finding import Code, Finding, advice, problem
from envelope_codec.cli.keys.configured_keys import ConfiguredKey, purpose_of, sealing_keys
from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import NAMESPACE, record_head
from envelope_codec.errors import MalformedEnvelope
from envelope_codec.keys.namespaces import Entries


def configuration_findings(config: EnvelopeConfig, namespaces: Sequence[str]) -> Iterator[Finding]:
    """Say what is wrong with the configuration, or could be better.

    `Code.require_encryption_off` is not among it: what is in the histories decides about that.
    """
    for namespace in namespaces:
        yield from _namespace_findings(config, namespace)
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
            "the default key serves every namespace that is neither listed under namespaces nor named in required",
            "list namespaces that must be kept apart under namespaces, each with a key of its own; name in required "
            "those that must never get the default key",
        )
    yield from _recipient_findings(config)
    if config.wrapping == "direct":
        yield advice(
            Code.direct_mode,
            "wrapping",
            "direct mode: each payload costs a KMS call, and a replay of a few hundred payloads can take longer than "
            "its workflow task may",
            'set wrapping = "wrapping-key", unless a rule that you must follow asks for direct mode',
        )


def _namespace_findings(config: EnvelopeConfig, namespace: str) -> Iterator[Finding]:
    keys = sealing_keys(config, namespace)
    if defect := _defect_of_context(config, namespace, keys):
        yield problem(
            Code.namespace_unusable,
            namespace,
            f"this namespace, with the configured context, can't be bound to payloads: {defect}",
            "shorten the context, or choose other names",
        )
    elif not keys:
        required = Entries(config).is_required(namespace)
        yield problem(
            Code.namespace_without_key,
            namespace,
            "no master key is configured for this namespace"
            + (", and required keeps the default key from it" if required else ""),
            "list it under namespaces, by name (letter by letter) or by a pattern, or set a default key",
        )


def _defect_of_context(config: EnvelopeConfig, namespace: str, keys: Sequence[ConfiguredKey]) -> str:
    """Say why no record can be made for ``namespace``; empty if one can."""
    try:
        record_head(purpose_of(config), 0, {**(keys[0].context if keys else {}), NAMESPACE: namespace})
    except MalformedEnvelope as error:
        return str(error)
    return ""


def _recipient_findings(config: EnvelopeConfig) -> Iterator[Finding]:
    groups = {"": config, **{f"namespaces.{name}.": keys for name, keys in config.namespaces.items()}}
    for prefix, keys in groups.items():
        if keys.backup_keys and keys.min_recipients == 1:
            yield advice(
                Code.one_recipient_suffices,
                f"{prefix}min_recipients",
                "while the KMS of a backup key gives no answer, payloads are sealed that this key can't open",
                f"set min_recipients = {1 + len(keys.backup_keys)} if nothing may be lost with the main key; then "
                "nothing is sealed while one of the keys gives no answer",
            )
