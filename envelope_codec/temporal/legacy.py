"""Codecs that were in use before this one. They open what they sealed, and seal nothing any more."""

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
    """Codecs that are tried in turn on a payload that is no envelope."""

    def __init__(self, codecs: Sequence[PayloadCodec]) -> None:
        self._codecs = tuple(
            codec
            if isinstance(codec, ForeignCodec)
            else ForeignCodec(codec, role="legacy codec", level=logging.WARNING)
            for codec in codecs
        )

    def with_context(self, context: SerializationContext) -> LegacyCodecs:
        """Return the codecs for ``context``: the same object where no codec changes."""
        codecs = [codec.with_context(context) for codec in self._codecs]
        if all(new is old for new, old in zip(codecs, self._codecs, strict=True)):
            return self
        return LegacyCodecs(codecs)

    @property
    def takes_context(self) -> bool:
        """Whether a codec may be another one for another context."""
        return any(isinstance(codec.codec, WithSerializationContext) for codec in self._codecs)

    async def open(self, payload: Payload) -> Payload | None:
        """Return what the first codec that changes ``payload`` makes of it. None where no codec changes it.

        A codec that fails is passed over: many codecs fail on what another one sealed.

        Raises:
            InvalidCiphertext: a codec has failed, and none has opened the payload. The codec's own words go to the log
                alone, since the SDK would store them in clear.
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
                codec.extension.make_error("did not return one payload for one")
                failed = True
            elif opened[0] != payload:
                return opened[0]
        if failed:
            raise InvalidCiphertext("a legacy codec could not open the payload", operation="open")
        return None


def load_legacy_codecs(config: EnvelopeConfig) -> EnvelopeConfig:
    """Return ``config`` with codec objects in place of the texts that name them: ``config`` itself if there are none.

    Raises:
        ConfigurationError: a text names no codec.
    """
    codecs = tuple(_load(given) for given in config.legacy_codecs)
    if all(new is old for new, old in zip(codecs, config.legacy_codecs, strict=True)):
        return config
    return config.model_copy(update={"legacy_codecs": codecs})


def _load(given: Any) -> PayloadCodec:
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
    except Exception as error:  # a module at its import, and a codec's constructor, may raise any class
        words = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"legacy_codecs: {given!r} can't be loaded: {words}") from error
    if not isinstance(found, PayloadCodec):
        raise ConfigurationError(f"legacy_codecs: {given!r} is no PayloadCodec, and makes none when it is called")
    return found
