"""Several payload codecs as one."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec, SerializationContext, WithSerializationContext

from envelope_codec.untouched import any_untouched, is_untouched


class CodecChain(PayloadCodec, WithSerializationContext):
    """Several codecs as one: the first encodes first and decodes last."""

    def __init__(self, codecs: Sequence[PayloadCodec]) -> None:
        self.codecs = tuple(codecs)

    def with_context(self, context: SerializationContext) -> CodecChain:
        """See `WithSerializationContext.with_context`. The same object where no codec changes."""
        codecs = [
            codec.with_context(context) if isinstance(codec, WithSerializationContext) else codec
            for codec in self.codecs
        ]
        if all(new is old for new, old in zip(codecs, self.codecs, strict=True)):
            return self
        return CodecChain(codecs)

    def close(self) -> None:
        """Close every codec that can be closed."""
        for codec in self.codecs:
            close = getattr(codec, "close", None)
            if callable(close):
                close()

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See `PayloadCodec.encode`."""
        result = list(payloads)
        if any_untouched(result):
            return [each if is_untouched(each) else (await self.encode([each]))[0] for each in result]
        for codec in self.codecs:
            result = await codec.encode(result)
        return result

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See `PayloadCodec.decode`."""
        result = list(payloads)
        for codec in reversed(self.codecs):
            result = await codec.decode(result)
        return result
