"""Several payload codecs as one."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec, SerializationContext, WithSerializationContext

from envelope_codec._frames import frameless_async
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.foreign import Extension, ForeignCodec
from envelope_codec.temporal.untouched import any_untouched, is_untouched


class CodecChain(PayloadCodec, WithSerializationContext):
    """Several codecs as one: the first encodes first and decodes last.

    Whatever a codec raises that is not ours becomes `ExtensionFailed`: the SDK would store its text in clear.
    """

    def __init__(self, codecs: Sequence[PayloadCodec]) -> None:
        self.codecs = tuple(codecs)
        self._guarded = tuple(map(_guarded, self.codecs))

    def with_context(self, context: SerializationContext) -> CodecChain:
        """See `WithSerializationContext.with_context`. The same object where no codec changes."""
        codecs = [_in_context(codec, context) for codec in self.codecs]
        if all(new is old for new, old in zip(codecs, self.codecs, strict=True)):
            return self
        return CodecChain(codecs)

    def close(self) -> None:
        """Close every codec that can be closed."""
        for codec in self.codecs:
            close = getattr(codec, "close", None)
            if callable(close):
                close()

    @frameless_async
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See `PayloadCodec.encode`. Raises `EnvelopeError` and nothing else."""
        result = list(payloads)
        try:
            if any_untouched(result):
                return [each if is_untouched(each) else (await self.encode([each]))[0] for each in result]
            for codec in self._guarded:
                result = await codec.encode(result)
            return result
        finally:
            payloads = result = []  # the frames of an error may be shown, and these may be plaintext

    @frameless_async
    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See `PayloadCodec.decode`. Raises `EnvelopeError` and nothing else."""
        result = list(payloads)
        try:
            for codec in reversed(self._guarded):
                result = await codec.decode(result)
            return result
        finally:
            payloads = result = []


def _in_context(codec: PayloadCodec, context: SerializationContext) -> PayloadCodec:
    if not isinstance(codec, WithSerializationContext):
        return codec
    if _is_ours(codec):
        return codec.with_context(context)
    return Extension("application's payload codec", codec).called(codec.with_context, context)


def _guarded(codec: PayloadCodec) -> PayloadCodec:
    return codec if _is_ours(codec) else ForeignCodec(codec)


def _is_ours(codec: PayloadCodec) -> bool:
    return isinstance(codec, (EnvelopeCodec, CodecChain, ForeignCodec))
