"""Codecs from before this one: they open what they sealed, and seal nothing any more."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec, SerializationContext, WithSerializationContext

from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError, ExtensionFailed, InvalidCiphertext
from envelope_codec.temporal.foreign import ForeignCodec


class LegacyCodecs(WithSerializationContext):
    """Tries codecs in turn on what is no envelope."""

    def __init__(self, codecs: Sequence[PayloadCodec]) -> None:
        self._codecs = tuple(
            codec
            if isinstance(codec, ForeignCodec)
            else ForeignCodec(codec, kind="legacy codec", level=logging.WARNING)
            for codec in codecs
        )

    def with_context(self, context: SerializationContext) -> LegacyCodecs:
        """See `WithSerializationContext.with_context`. The same object where no codec changes."""
        codecs = [codec.with_context(context) for codec in self._codecs]
        if all(new is old for new, old in zip(codecs, self._codecs, strict=True)):
            return self
        return LegacyCodecs(codecs)

    async def open(self, payload: Payload) -> Payload | None:
        """What the first codec that changes ``payload`` makes of it, or None where none does.

        A codec that fails is passed over: many do where they meet what another one sealed.

        Raises:
            InvalidCiphertext: one has failed and none has opened it. Their own words go to the log alone, since the SDK
                would store them in clear.
        """
        failed = False
        for codec in self._codecs:
            given = Payload()
            given.CopyFrom(payload)
            try:
                opened = await codec.decode([given])
            except ExtensionFailed:
                failed = True
                continue
            if len(opened) != 1:
                codec.extension.failed("did not return one payload for one")
                failed = True
            elif opened[0] != payload:
                return opened[0]
        if failed:
            raise InvalidCiphertext("a legacy codec could not open the payload", operation="open")
        return None


def with_legacy_codecs(config: EnvelopeConfig) -> EnvelopeConfig:
    """``config`` with its legacy codecs loaded: objects, where it names them as texts.

    Raises:
        ConfigurationError: a text names no codec.
    """
    codecs = tuple(_codec(given) for given in config.legacy_codecs)
    if all(new is old for new, old in zip(codecs, config.legacy_codecs, strict=True)):
        return config
    return config.model_copy(update={"legacy_codecs": codecs})


def _codec(given: Any) -> PayloadCodec:
    if not isinstance(given, str):
        codec: PayloadCodec = given
        return codec
    module, _, path = given.partition(":")
    try:
        found: Any = import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
        if not isinstance(found, PayloadCodec):
            found = found()
    # Any class: what a module raises at its import, or a codec when it is made, is as it pleases.
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"legacy_codecs: {given!r} can't be loaded: {said}") from error
    if not isinstance(found, PayloadCodec):
        raise ConfigurationError(f"legacy_codecs: {given!r} is no PayloadCodec, and makes none when it is called")
    return found
