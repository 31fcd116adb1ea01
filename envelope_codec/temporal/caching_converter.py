"""A data converter that is copied once for each variant of its codec, instead of at each call of the SDK."""

from __future__ import annotations

import dataclasses
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter, PayloadCodec, SerializationContext, WithSerializationContext
from typing_extensions import Self

from envelope_codec.temporal.chain import has_lasting_variants
from envelope_codec.temporal.coming_payloads import end_coming, note_coming

_PARTS = {
    "payload_converter_class",
    "payload_codec",
    "failure_converter_class",
    "payload_converter",
    "failure_converter",
    "external_storage",
}


@dataclass(frozen=True)
class CachingConverter(DataConverter):
    """The SDK's data converter, with its copies for other contexts kept.

    The SDK asks for a context some ten times an activity. Each time it would copy its converter, because the codec
    changes: that takes 3 % of all that a worker does for a small workflow.

    A copy is kept for each variant of the codec. It is used where all other parts are, for the context in question, the
    very objects that the copy has. So nothing is kept that depends on more than the codec's variant.
    """

    # Shared by all copies, or those of copies would never end. Other threads may fill it at the same time.
    _kept: dict[PayloadCodec, Any] = field(init=False, repr=False, compare=False, default_factory=dict)

    def with_context(self, context: SerializationContext) -> Self:
        """Return the converter for ``context``: mostly the one of before."""
        codec = self.payload_codec
        if not has_lasting_variants(codec):
            return super().with_context(context)
        kept = self._kept.get(_in_context(codec, context))
        if kept is not None and self._leads_to(kept, context):
            found: Self = kept
            return found
        made = super().with_context(context)
        if made.payload_converter is self.payload_converter and made.failure_converter is self.failure_converter:
            object.__setattr__(made, "_kept", self._kept)
            self._kept[made.payload_codec] = made  # type: ignore[index]
        return made

    # The SDK goes through all payloads of a workflow task with the first of these two, for what is in external storage,
    # before it opens one after another with the second. Both are its own: a later one may give them more, or do without
    # them, and then each record waits for the one before. They are no coroutine functions: no error has their frames.

    def _decode_reference_payload_sequence(
        self, payloads: Sequence[Payload], *more: Any, **named: Any
    ) -> Coroutine[Any, Any, list[Payload]]:
        note_coming(payloads, self.payload_codec)
        return super()._decode_reference_payload_sequence(payloads, *more, **named)

    def _decode_payload_sequence(
        self, payloads: Sequence[Payload], *more: Any, **named: Any
    ) -> Coroutine[Any, Any, list[Payload]]:
        end_coming()
        return super()._decode_payload_sequence(payloads, *more, **named)

    def _leads_to(self, kept: DataConverter, context: SerializationContext) -> bool:
        """Whether, apart from the codec, ``kept`` is what the SDK would make of this converter."""
        return (
            type(kept) is type(self)
            and kept.payload_converter is _in_context(self.payload_converter, context)
            and kept.failure_converter is _in_context(self.failure_converter, context)
            and kept.external_storage is _in_context(self.external_storage, context)
        )


def keep_copies(converter: DataConverter) -> DataConverter:
    """Return a converter like ``converter`` that keeps its copies. A subclass of the application's stays as it is."""
    known = {part.name for part in dataclasses.fields(DataConverter)} == _PARTS  # a later SDK may have more
    if type(converter) is not DataConverter or not known:
        return converter
    made = object.__new__(CachingConverter)  # the parts have been made: the application's may be made once only
    for name in _PARTS:
        object.__setattr__(made, name, getattr(converter, name))
    object.__setattr__(made, "_kept", {})
    return made


def _in_context(part: Any, context: SerializationContext) -> Any:
    return part.with_context(context) if isinstance(part, WithSerializationContext) else part
