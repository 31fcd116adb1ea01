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
        self._safe_codecs = tuple(map(_wrap_foreign, self.codecs))
        self._kept: dict[tuple[int, ...], CodecChain] = {}  # by the ids of codecs: not all can be hashed
        self._lasting = all(
            has_lasting_variants(codec) or not isinstance(codec, WithSerializationContext) for codec in self.codecs
        )

    @property
    def has_lasting_variants(self) -> bool:
        """Whether `with_context` returns the same object for the same namespace and kind of context."""
        return self._lasting

    def with_context(self, context: SerializationContext) -> CodecChain:
        """Return the chain for ``context``: the same object where no codec changes."""
        codecs = tuple([_put_in_context(codec, context) for codec in self.codecs])
        if all(new is old for new, old in zip(codecs, self.codecs, strict=True)):
            return self
        if not self._lasting:
            return CodecChain(codecs)
        return self._kept.get(tuple(map(id, codecs))) or self._keep(codecs)

    def _keep(self, codecs: tuple[PayloadCodec, ...]) -> CodecChain:
        self._kept.setdefault(tuple(map(id, self.codecs)), self)
        made = CodecChain(codecs)
        made._kept = self._kept  # or those of the variants would never end
        return self._kept.setdefault(tuple(map(id, codecs)), made)

    def close(self) -> None:
        """Close every codec that can be closed."""
        for codec in self.codecs:
            close = getattr(codec, "close", None)
            if callable(close):
                close()

    @frameless_async
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encode with each codec in turn. Raises `EnvelopeError` and nothing else."""
        result = list(payloads)
        try:
            if any_untouched(result):
                return [each if is_untouched(each) else (await self.encode([each]))[0] for each in result]
            for codec in self._safe_codecs:
                result = await codec.encode(result)
            return result
        finally:
            payloads = result = []  # the frames of an error may be shown, and these may be plaintext

    @frameless_async
    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decode with each codec in turn, the last one first. Raises `EnvelopeError` and nothing else."""
        result = list(payloads)
        try:
            for codec in reversed(self._safe_codecs):
                result = await codec.decode(result)
            return result
        finally:
            payloads = result = []


def find_codec(codec: PayloadCodec | None) -> EnvelopeCodec | None:
    """Return our codec in ``codec``: itself, or one of a chain."""
    if isinstance(codec, EnvelopeCodec):
        return codec
    if isinstance(codec, CodecChain):
        return next((found for found in map(find_codec, codec.codecs) if found is not None), None)
    return None


def has_lasting_variants(codec: PayloadCodec | None) -> bool:
    """Whether ``codec`` is ours, and has one variant for each namespace and kind of context."""
    return isinstance(codec, (EnvelopeCodec, CodecChain)) and codec.has_lasting_variants


def add_codec(codec: PayloadCodec | None, ours: EnvelopeCodec) -> PayloadCodec:
    """Return a codec that encodes with ``codec``, if there is one, and then with ``ours``."""
    return ours if codec is None else CodecChain([codec, ours])


def remove_codec(codec: PayloadCodec | None, ours: EnvelopeCodec) -> PayloadCodec | None:
    """Return what is left of ``codec``, which is ``ours`` or a chain with it. None if that is nothing."""
    others = [other for other in codec.codecs if other is not ours] if isinstance(codec, CodecChain) else []
    return None if not others else others[0] if len(others) == 1 else CodecChain(others)


def _put_in_context(codec: PayloadCodec, context: SerializationContext) -> PayloadCodec:
    if not isinstance(codec, WithSerializationContext):
        return codec
    if _is_ours(codec):
        return codec.with_context(context)
    return Extension("application's payload codec", codec).call(codec.with_context, context)


def _wrap_foreign(codec: PayloadCodec) -> PayloadCodec:
    return codec if _is_ours(codec) else ForeignCodec(codec)


def _is_ours(codec: PayloadCodec) -> bool:
    return isinstance(codec, (EnvelopeCodec, CodecChain, ForeignCodec))
