"""A codec that compresses: what its envelopes hold, who can open them, and what it reports."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec, WorkflowSerializationContext

from envelope_codec import ConfigurationError, EnvelopeCodec, EnvelopeConfig, EnvelopeError, InvalidCiphertext
from envelope_codec.envelope import seal
from envelope_codec.observe import Event
from envelope_codec.temporal import zstd_frame
from envelope_codec.temporal.chain import CodecChain
from envelope_codec.temporal.inner_payload import COMPRESSED
from envelope_codec.testing import FakeKms

TEXT = Payload(metadata={"encoding": b"json/plain"}, data=b'"' + b"the same words " * 60 + b'"')
BOMB = bytes(2**26)  # 32,000 : 1


class Events:
    def __init__(self) -> None:
        self.seen: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.seen.append(event)


def make(kms: FakeKms, observer: Events | None = None, **settings: Any) -> EnvelopeCodec:
    return EnvelopeCodec(EnvelopeConfig(key=kms, **settings), observer=observer)


async def sealed_by_hand(kms: FakeKms, inner: Payload) -> Payload:
    """An envelope that is valid, whatever is in it."""
    key = await make(kms).keyring.sealing_key("default")
    wrapped, data = seal(inner.SerializeToString(), key.record, key.key)
    assert wrapped is not None
    return Payload(metadata={**key.record.metadata, "encryption-data-key": wrapped}, data=data)


async def test_compressed_payloads_open_without_any_setting() -> None:
    kms = FakeKms()
    given = [TEXT, Payload(data=os.urandom(1_000)), Payload(), Payload(metadata={"encoding": COMPRESSED}, data=b"x")]
    sealed = await make(kms, compression="zstd").encode(given)
    assert [payload.metadata["encoding"] for payload in sealed] == [b"binary/envelope-v1"] * 4
    assert len(sealed[0].data) < TEXT.ByteSize() / 5
    assert await make(kms).decode(sealed) == given


async def test_a_payload_that_has_the_encoding_itself_comes_back_where_compression_is_off() -> None:
    kms = FakeKms()
    given = [Payload(metadata={"encoding": COMPRESSED}, data=b"\x00" * size) for size in (0, 3, 2**20)]
    assert await make(kms).decode(await make(kms).encode(given)) == given


async def test_such_a_payload_that_no_reader_would_take_fails_with_its_whole_call() -> None:
    codec = make(FakeKms(), max_payload="64KiB")
    larger = Payload(metadata={"encoding": COMPRESSED}, data=bytes(2**16))
    with pytest.raises(EnvelopeError, match="max_payload") as caught:
        await codec.encode([TEXT, larger])
    assert not caught.value.retryable


async def test_the_minimum_size_is_that_of_the_payload() -> None:
    kms = FakeKms()
    size = TEXT.ByteSize()
    for least, shrinks in ((size, True), (size + 1, False)):
        [sealed] = await make(kms, compression="zstd", compression_min_size=least).encode([TEXT])
        assert (len(sealed.data) < size) is shrinks


async def test_a_reader_with_a_smaller_bound_refuses_by_name() -> None:
    kms = FakeKms()
    large = Payload(data=b"".join(b"%d lamps, " % number for number in range(9_000)))
    sealed = await make(kms, compression="zstd").encode([large])
    with pytest.raises(InvalidCiphertext, match="max_payload"):
        await make(kms, max_payload=large.ByteSize() - 1).decode(sealed)
    assert await make(kms, max_payload=large.ByteSize()).decode(sealed) == [large]


@pytest.mark.parametrize("size", [len(BOMB), 2**20, 1])
async def test_a_bomb_in_a_valid_envelope_is_refused(size: int) -> None:
    kms = FakeKms()
    frame = zstd_frame.load_zstd().compress(BOMB)
    inner = Payload(metadata={"encoding": COMPRESSED}, data=size.to_bytes(4, "big") + frame)
    with pytest.raises(InvalidCiphertext, match=r"^what was sealed is compressed, and "):
        await make(kms).decode([await sealed_by_hand(kms, inner)])


FIELDS = Payload(external_payloads=[Payload.ExternalPayloadDetails()] * 1_025)


async def test_a_small_envelope_of_many_fields_is_refused() -> None:
    kms = FakeKms()
    content = FIELDS.SerializeToString()
    inner = Payload(metadata={"encoding": COMPRESSED}, data=b"".join(zstd_frame.compress(content)))
    assert len(inner.data) < 100
    with pytest.raises(InvalidCiphertext, match="too many fields"):
        await make(kms).decode([await sealed_by_hand(kms, inner)])


async def test_a_payload_of_many_fields_is_sealed_as_it_is() -> None:
    kms = FakeKms()
    [sealed] = await make(kms, compression="zstd").encode([FIELDS])
    assert len(sealed.data) == FIELDS.ByteSize() + 60
    assert await make(kms).decode([sealed]) == [FIELDS]


async def test_what_compression_gains_is_reported_for_each_call() -> None:
    events = Events()
    codec = make(FakeKms(), events, compression="zstd")
    given = [TEXT, Payload(data=b"short")]
    sealed = await codec.encode(given)
    [event] = [event for event in events.seen if event.operation == "compress"]
    assert (event.outcome, event.namespace, event.payloads) == ("ok", "default", 2)
    assert event.bytes_before == sum(payload.ByteSize() for payload in given)
    assert event.bytes_after == sum(len(payload.data) - 60 for payload in sealed)
    assert event.bytes_after < event.bytes_before / 3


async def test_nothing_is_reported_of_compression_that_is_off() -> None:
    events = Events()
    await make(FakeKms(), events).encode([TEXT])
    assert {event.operation for event in events.seen} & {"compress"} == set()


async def test_a_codec_that_is_to_compress_needs_zstd_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ConfigurationError("compression: this Python has no module")

    monkeypatch.setattr(zstd_frame, "load_zstd", missing)
    make(FakeKms())
    with pytest.raises(ConfigurationError, match=r"^compression:"):
        make(FakeKms(), compression="zstd")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"compression": "gzip"}, "compression: "),
        ({"compression_min_size": -1}, "compression_min_size: "),
        ({"compression_min_size": "many"}, "compression_min_size: give a size"),
        ({"max_payload": 2**16 - 1}, "max_payload: give at least 64KiB.*max_payloads"),
        ({"max_payload": "4GiB"}, "max_payload: give at least 64KiB, and less than 4GiB"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make(FakeKms(), **settings)


CONTEXTS = [
    WorkflowSerializationContext(namespace="default", workflow_id="w"),
    WorkflowSerializationContext(namespace="ReplayNamespace", workflow_id="w"),
]


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("resolves", [False, True])
async def test_a_budget_is_kept_in_every_context(context: WorkflowSerializationContext, resolves: bool) -> None:
    kms = FakeKms()
    resolver: dict[str, Any] = {"resolver": lambda context: None} if resolves else {}
    codec = make(kms, compression="zstd", **resolver)
    sealed = await codec.encode([TEXT])
    taken: list[int] = []
    for bounded in (
        codec.with_budget(taken.append).with_context(context),
        codec.with_context(context).with_budget(taken.append),
        codec.with_context(context).with_budget(taken.append).with_context(context).with_context(context),
    ):
        assert await bounded.decode(sealed) == [TEXT]
        assert taken.pop() == TEXT.ByteSize()
        assert not taken
        assert not bounded.has_lasting_variants, "each budget is for one call"
    assert await codec.with_context(context).decode(sealed) == [TEXT]
    assert not taken, "those of others are bound by nothing"


class Zlib(PayloadCodec):
    """A user's own compression."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload(metadata={"encoding": b"binary/zlib"}, data=zlib.compress(payload.SerializeToString()))
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload.FromString(zlib.decompress(payload.data)) for payload in payloads]


async def test_a_users_own_compression_composes_as_before() -> None:
    kms = FakeKms()
    chain = CodecChain([Zlib(), make(kms, compression="zstd", compression_min_size=0)])
    large = Payload(data=os.urandom(5_000) * 2)
    given = [TEXT, large, Payload()]
    sealed = await chain.encode(given)
    assert await chain.decode(sealed) == given
    [inner] = await make(kms).decode(sealed[:1])
    assert inner.metadata["encoding"] == b"binary/zlib", "what is compressed already is sealed as it is"
    assert len(sealed[0].data) - 60 == inner.ByteSize()


async def test_lengths_tell_whether_text_repeats_a_secret_where_compression_is_on() -> None:
    """That is why it is off unless it is asked for."""
    lengths: dict[tuple[str, str], int] = {}
    for guess in ("token=7f3a9c15e2", "token=0b8d4e6a71"):
        data = f'{{"{"x" * 600}": 1, "words": "{guess}", "secret": "token=7f3a9c15e2"}}'.encode()
        for compression in ("none", "zstd"):
            [sealed] = await make(FakeKms(), compression=compression).encode([Payload(data=data)])
            lengths[compression, guess] = len(sealed.data)
    assert lengths["none", "token=7f3a9c15e2"] == lengths["none", "token=0b8d4e6a71"]
    assert lengths["zstd", "token=7f3a9c15e2"] < lengths["zstd", "token=0b8d4e6a71"]
