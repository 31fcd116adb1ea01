"""Several codecs as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec, SerializationContext, WithSerializationContext
from temporalio.converter import WorkflowSerializationContext as WorkflowContext

from envelope_codec.temporal.chain import CodecChain

CONTEXT = WorkflowContext(namespace="n", workflow_id="w")


class Wrap(PayloadCodec):
    """Puts a layer around the data."""

    def __init__(self, layer: bytes) -> None:
        self.layer = layer

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(data=self.layer + payload.data) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        assert all(payload.data.startswith(self.layer) for payload in payloads)
        return [Payload(data=payload.data[len(self.layer) :]) for payload in payloads]


class WrapByContext(Wrap, WithSerializationContext):
    """Another layer in a Workflow context, and itself in others."""

    def with_context(self, context: SerializationContext) -> Any:
        return Wrap(context.workflow_id.encode()) if isinstance(context, WorkflowContext) else self


class Merge(PayloadCodec):
    """All payloads into one: the SDK allows it."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(data=b"|".join(payload.data for payload in payloads))]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(data=part) for payload in payloads for part in payload.data.split(b"|")]


async def test_first_codec_encodes_first_and_decodes_last() -> None:
    chain = CodecChain([Wrap(b"inner "), Wrap(b"outer ")])
    payloads = [Payload(data=b"a"), Payload(data=b"b")]
    encoded = await chain.encode(payloads)
    assert [payload.data for payload in encoded] == [b"outer inner a", b"outer inner b"]
    assert await chain.decode(encoded) == payloads
    assert [payload.data for payload in payloads] == [b"a", b"b"]


async def test_codec_may_change_the_number_of_payloads() -> None:
    chain = CodecChain([Merge(), Wrap(b"outer ")])
    payloads = [Payload(data=b"a"), Payload(data=b"b")]
    encoded = await chain.encode(payloads)
    assert [payload.data for payload in encoded] == [b"outer a|b"]
    assert await chain.decode(encoded) == payloads


async def test_no_payloads() -> None:
    chain = CodecChain([Wrap(b"x")])
    assert await chain.encode([]) == []
    assert await chain.decode([]) == []


async def test_context_reaches_the_codecs_that_want_it() -> None:
    chain = CodecChain([WrapByContext(b"inner "), Wrap(b"outer ")])
    within = chain.with_context(CONTEXT)
    (encoded,) = await within.encode([Payload(data=b"a")])
    assert encoded.data == b"outer wa"
    assert within.codecs[1] is chain.codecs[1]


def test_chain_stays_the_same_where_no_codec_changes() -> None:
    class Other(SerializationContext):
        pass

    chain = CodecChain([WrapByContext(b"inner "), Wrap(b"outer ")])
    assert chain.with_context(Other()) is chain
    assert chain.with_context(CONTEXT) is not chain
    plain = CodecChain([Wrap(b"inner ")])
    assert plain.with_context(CONTEXT) is plain
