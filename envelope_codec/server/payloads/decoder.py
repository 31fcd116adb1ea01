"""Decoding for a caller, whose budget counts what payloads take in memory beyond their envelopes, before they do."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.common.v1 import Payload

from envelope_codec.errors import EnvelopeError
from envelope_codec.server.payloads.protobuf_json import count_entry_bytes
from envelope_codec.server.web.admission import Visit
from envelope_codec.server.web.refusal import Refusal
from envelope_codec.temporal.codec import EnvelopeCodec

_FREE = 2**14  # bytes; the entries of no honest payload take more


class TooManyBytes(EnvelopeError):
    """A payload yields more than its caller's budget has left. It was not decompressed, or not parsed."""


async def decode(codec: EnvelopeCodec, payloads: Sequence[Payload], visit: Visit) -> list[Payload]:
    """Return what ``codec`` makes of ``payloads``. The bytes of a call that fails are given back.

    A payload whose entries take more memory than entries of any honest one counts with them as well: an entry of two
    bytes takes a hundred times as many in the answer.

    Raises:
        TooManyBytes: there is no room for what one of them yields.
        EnvelopeError: as `EnvelopeCodec.decode`.
    """
    taken: list[int] = []

    def take(size: int) -> None:
        try:
            visit.take_bytes(size)
        except Refusal:
            full = True
        else:
            full = False
            taken.append(size)
        if full:
            raise TooManyBytes("what the payload holds is too large for the budget of its caller", operation="open")

    try:
        opened = await codec.with_budget(take).decode(payloads)
        for payload in opened:
            size = count_entry_bytes(payload)
            if size > _FREE:
                take(size)
        return opened
    except BaseException:
        if taken:
            visit.give_back_bytes(sum(taken))
        raise
