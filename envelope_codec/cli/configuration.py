"""The configuration that a command works with: from a key, from a file, or from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from envelope_codec.config import EnvelopeConfig
from envelope_codec.temporal.legacy import load_legacy_codecs

_PREFIX = "ENVELOPE_CODEC_"
_SERVER_PREFIX = "ENVELOPE_CODEC_SERVER_"


WAYS_TO_CONFIGURE = "a file with --config, or set ENVELOPE_CODEC_KEY or ENVELOPE_CODEC_FILE"
"""How to give a command its configuration: the end of a sentence."""


class NothingConfigured(Exception):
    """There is no configuration. The text is one line, and says how to give one."""

    def __init__(self) -> None:
        super().__init__(f"nothing is configured: name {WAYS_TO_CONFIGURE}")


@dataclass(frozen=True)
class Configuration:
    """A valid configuration.

    Attributes:
        config: the settings.
        source: where they come from, in words for people.
    """

    config: EnvelopeConfig
    source: str


def is_configured(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the environment has any setting of the codec. The codec server's own settings don't count."""
    variables = os.environ if environ is None else environ
    return any(name.startswith(_PREFIX) and not name.startswith(_SERVER_PREFIX) for name in variables)


def load_configuration(key: str | None, file: str | None, environ: Mapping[str, str] | None = None) -> Configuration:
    """Load the settings from ``key``, else from ``file``, else from the environment.

    Args:
        key: a key URI.
        file: path of a TOML file.
        environ: the environment; by default that of this process.

    Raises:
        ConfigurationError: a setting is wrong.
        NothingConfigured: there are no settings.
    """
    variables = os.environ if environ is None else environ
    if key is not None:
        return Configuration(EnvelopeConfig(key=key), "the key that was named")
    if file is not None:
        return Configuration(load_legacy_codecs(EnvelopeConfig.from_file(file)), f"file {file}")
    if not is_configured(variables):
        raise NothingConfigured
    return Configuration(load_legacy_codecs(EnvelopeConfig.from_env(variables)), "the environment, ENVELOPE_CODEC_*")
