"""What an envelope holds, compressed or not: reading is the exact inverse of writing."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeConfig, EnvelopeError, InvalidCiphertext
from envelope_codec.temporal import inner_payload, zstd_frame
from envelope_codec.temporal.inner_payload import (
    COMPRESSED,
    InnerFormat,
    foresee_unpacking,
    parse_payload,
    scanning_work,
)
from envelope_codec.temporal.sealed_payload import finish_inner_payload
from envelope_codec.testing import FakeKms

PLAIN = InnerFormat()
ZSTD = InnerFormat(compresses=True, min_size=100)
TEXT = Payload(metadata={"encoding": b"json/plain"}, data=b'"' + b"the same words " * 60 + b'"')
OWN = Payload(metadata={"encoding": COMPRESSED}, data=b"not ours")
FORMATS = st.builds(
    InnerFormat, compresses=st.booleans(), min_size=st.integers(0, 2_000), max_payload=st.integers(2**16, 2**26)
)


def is_compressed(data: bytes) -> bool:
    return Payload.FromString(data).metadata.get("encoding") == COMPRESSED


def read(reader: InnerFormat, data: bytes) -> Payload:
    """What ``reader`` makes of the bytes that an envelope held."""
    return reader.unpack(parse_payload(data))


def wrapped(content: bytes, **more: bytes) -> Payload:
    metadata = {"encoding": COMPRESSED, **{name.replace("_", "-"): value for name, value in more.items()}}
    return Payload(metadata=metadata, data=b"".join(zstd_frame.compress(content)))


def test_nothing_is_compressed_unless_it_is_asked_for() -> None:
    assert PLAIN.serialize(TEXT) == TEXT.SerializeToString()
    assert EnvelopeConfig(key=FakeKms()).compression == "none"


def test_text_is_compressed_where_it_is_asked_for() -> None:
    data = ZSTD.serialize(TEXT)
    assert is_compressed(data)
    assert len(data) < TEXT.ByteSize() / 5
    assert read(PLAIN, data) == TEXT, "reading needs no setting"


def test_a_compressed_payload_has_these_bytes() -> None:
    found = Payload.FromString(ZSTD.serialize(TEXT))
    assert dict(found.metadata) == {"encoding": b"binary/zstd-payload-v1"}
    assert found.data[:4] == TEXT.ByteSize().to_bytes(4, "big")
    assert zstd_frame.load_zstd().decompress(found.data[4:]) == TEXT.SerializeToString()


@pytest.mark.parametrize(
    "payload",
    [
        Payload(metadata=TEXT.metadata, data=b"x" * 50),  # below the minimum
        Payload(metadata=TEXT.metadata, data=os.urandom(10_000)),  # does not shrink
        Payload(metadata=TEXT.metadata, data=bytes(10_000_000)),  # shrinks more than a reader allows
        Payload(metadata=TEXT.metadata, data=b"ab" * 2**25),  # over `max_payload`
        Payload(),
    ],
    ids=lambda payload: str(len(payload.data)),
)
def test_what_does_not_gain_is_sealed_as_it_is(payload: Payload) -> None:
    data = ZSTD.serialize(payload)
    assert data == payload.SerializeToString()
    assert read(ZSTD, data) == payload


def test_five_percent_is_the_least_that_it_must_save() -> None:
    def payload(random: int) -> Payload:
        return Payload(data=os.urandom(random) + bytes(20_000 - random))

    saved = {}
    for random in range(18_500, 19_200, 5):
        given = payload(random)
        data = ZSTD.serialize(given)
        full = wrapped(given.SerializeToString()).ByteSize()
        saved[random] = is_compressed(data)
        assert saved[random] is (full <= 0.95 * given.ByteSize())
    assert set(saved.values()) == {True, False}


@pytest.mark.parametrize("writer", [PLAIN, ZSTD], ids=["off", "on"])
@pytest.mark.parametrize(
    "payload",
    [
        OWN,
        Payload(metadata={"encoding": COMPRESSED}),
        Payload(metadata={"encoding": COMPRESSED}, data=os.urandom(10_000)),
        Payload(metadata={"encoding": COMPRESSED}, data=bytes(10_000_000)),
        Payload(metadata={"encoding": COMPRESSED, "other": b"x"}, data=TEXT.data),
        Payload.FromString(ZSTD.serialize(TEXT)),
        Payload.FromString(ZSTD.serialize(Payload.FromString(ZSTD.serialize(TEXT)))),
    ],
    ids=["odd", "empty", "random", "zeros", "more", "one of ours", "two layers"],
)
def test_a_payload_that_has_the_encoding_itself_comes_back(writer: InnerFormat, payload: Payload) -> None:
    data = writer.serialize(payload)
    assert is_compressed(data)
    assert read(PLAIN, data) == payload


def test_a_name_that_is_no_text_is_refused_whatever_protobuf_runs_on() -> None:
    code = (
        "from envelope_codec import InvalidCiphertext\n"
        "from envelope_codec.temporal.inner_payload import parse_payload\n"
        "try: parse_payload(bytes.fromhex('0a030a01ff'))\n"
        "except InvalidCiphertext as error: print(error)\n"
    )
    for implementation in ("upb", "python"):
        environ = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation}
        ran = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
        assert ran.stdout == "what was sealed is not a payload\n", implementation


def test_one_layer_is_taken_off() -> None:
    two = PLAIN.serialize(Payload.FromString(ZSTD.serialize(TEXT)))
    once = read(PLAIN, two)
    assert once.metadata["encoding"] == COMPRESSED
    assert read(PLAIN, once.SerializeToString()) == TEXT


def test_a_payload_of_the_encoding_that_is_too_large_for_readers_is_not_sealed() -> None:
    small = InnerFormat(max_payload=OWN.ByteSize())
    assert read(small, small.serialize(OWN)) == OWN
    larger = Payload(metadata=OWN.metadata, data=OWN.data + b"x")
    with pytest.raises(EnvelopeError, match="max_payload") as caught:
        small.serialize(larger)
    assert caught.value.operation == "seal"


def test_a_reader_takes_what_its_own_bound_allows() -> None:
    data = ZSTD.serialize(TEXT)
    assert read(InnerFormat(max_payload=TEXT.ByteSize()), data) == TEXT
    with pytest.raises(InvalidCiphertext, match="max_payload"):
        read(InnerFormat(max_payload=TEXT.ByteSize() - 1), data)
    assert read(InnerFormat(max_payload=1), TEXT.SerializeToString()) == TEXT, "what is not compressed has no bound"


@pytest.mark.parametrize("length", [0, 1, 127, 128, 2**14 - 1, 2**14, 2**21])
def test_a_compressed_payload_is_written_as_protobuf_does(length: int) -> None:
    data = os.urandom(length)
    expected = Payload(metadata={"encoding": COMPRESSED}, data=data)
    assert Payload.FromString(inner_payload._join([data[:5], data[5:]])) == expected
    if length:
        assert inner_payload._join([data]) == expected.SerializeToString()


def test_a_padding_may_stand_outside_and_inside() -> None:
    inside = Payload(metadata={**TEXT.metadata, "encryption-padding": b"xx"}, data=TEXT.data)
    outside = wrapped(inside.SerializeToString(), encryption_padding=b"y" * 100)
    assert finish_inner_payload(outside) == TEXT


def test_marks_of_the_sdk_are_dropped_from_compressed_payloads() -> None:
    marked = Payload(metadata={**TEXT.metadata, "__temporal_system_payload": b"true"}, data=TEXT.data)
    assert finish_inner_payload(parse_payload(ZSTD.serialize(marked))) == TEXT


def test_work_of_unpacking_is_known_before_it_is_done() -> None:
    each, small = inner_payload._DECOMPRESSING, Payload.FromString(ZSTD.serialize(TEXT))
    assert foresee_unpacking(small) == (TEXT.ByteSize(), each * (TEXT.ByteSize() + len(small.data)))
    claimed = int.from_bytes(OWN.data[:4], "big")
    assert foresee_unpacking(OWN) == (claimed, each * (claimed + len(OWN.data))), "whoever asks has checked nothing"
    assert foresee_unpacking(TEXT) == (0, 0)


def test_work_of_scanning_is_that_of_what_is_beside_the_data() -> None:
    each, text = inner_payload._FIELD_BYTE, Payload(data=bytes(2_000))
    assert scanning_work(text.ByteSize(), text) == each * (text.ByteSize() - 2_000)
    assert scanning_work(1_024, Payload()) == 0, "nobody has looked"
    assert scanning_work(2**20, Payload()) == each * 15 * 1_024, "fields that came twice are looked at as well"


@pytest.mark.parametrize(
    ("payload", "size", "compresses"),
    [
        (TEXT, 2**20, True),
        (TEXT, 2**26 + 1, False),
        (OWN, 2**20, True),
    ],
)
def test_work_of_sealing_counts_compression(payload: Payload, size: int, compresses: bool) -> None:
    compressing = inner_payload._COMPRESSING * size + inner_payload._FIELD * len(payload.metadata)
    assert ZSTD.sealing_work(payload, size) == (compressing if compresses else size)


def test_work_of_sealing_counts_fields_where_somebody_looks_at_them() -> None:
    names = Payload(metadata={f"{number:03x}": b"" for number in range(700)})
    size = names.ByteSize()
    assert ZSTD.sealing_work(names, size) == size + inner_payload._FIELD * 700
    names.external_payloads.extend([Payload.ExternalPayloadDetails()] * 700)
    assert ZSTD.sealing_work(names, size) == size + inner_payload._FIELD * 1_024
    assert ZSTD.sealing_work(names, 1_024) == 1_024
    assert PLAIN.sealing_work(names, size) == size


def test_work_of_sealing_without_compression() -> None:
    assert PLAIN.sealing_work(TEXT, 2**20) == 2**20
    assert PLAIN.sealing_work(OWN, 2**20) > inner_payload._COMPRESSING * 2**20, "it is compressed in any case"


def with_entries(fields: int, encoding: bytes = b"json/plain") -> Payload:
    """A payload of so many fields: its data, and metadata."""
    return Payload(metadata={"encoding": encoding, **{f"n{number:04}": b"" for number in range(fields - 2)}}, data=b"x")


def with_much_beside(size: int, encoding: bytes = b"json/plain") -> Payload:
    """A payload of so many bytes beside its data."""
    payload = Payload(metadata={"encoding": encoding, "note": b"the same words " * 4_300}, data=TEXT.data)
    payload.metadata["note"] += bytes(size - payload.ByteSize() + len(payload.data))
    assert payload.ByteSize() - len(payload.data) == size
    return payload


MOST = {"fields": with_entries(1_024), "beside": with_much_beside(65_536)}
OVER = {"fields": with_entries(1_025), "beside": with_much_beside(65_537)}


@pytest.mark.parametrize("payload", MOST.values(), ids=MOST)
def test_a_payload_at_the_bounds_is_compressed_and_comes_back(payload: Payload) -> None:
    data = ZSTD.serialize(payload)
    assert is_compressed(data)
    assert read(PLAIN, data) == payload


@pytest.mark.parametrize("payload", OVER.values(), ids=OVER)
def test_a_payload_over_the_bounds_is_sealed_as_it_is_and_comes_back(payload: Payload) -> None:
    data = ZSTD.serialize(payload)
    assert data == payload.SerializeToString()
    assert read(PLAIN, data) == payload


@pytest.mark.parametrize(
    ("payload", "words"),
    [(OVER["fields"], "too many fields"), (OVER["beside"], "too much beside its data")],
    ids=OVER,
)
def test_a_compressed_payload_over_the_bounds_is_refused(payload: Payload, words: str) -> None:
    with pytest.raises(InvalidCiphertext, match=f"compressed, and has {words}"):
        read(PLAIN, wrapped(payload.SerializeToString()).SerializeToString())


@pytest.mark.parametrize("writer", [PLAIN, ZSTD], ids=["off", "on"])
@pytest.mark.parametrize(
    ("most", "over", "words"),
    [
        (with_entries(1_024, COMPRESSED), with_entries(1_025, COMPRESSED), "too many fields"),
        (with_much_beside(65_536, COMPRESSED), with_much_beside(65_537, COMPRESSED), "too much beside its data"),
    ],
    ids=OVER,
)
def test_a_payload_of_the_encoding_that_is_over_the_bounds_is_not_sealed(
    writer: InnerFormat, most: Payload, over: Payload, words: str
) -> None:
    assert read(PLAIN, writer.serialize(most)) == most
    with pytest.raises(EnvelopeError, match=words) as caught:
        writer.serialize(over)
    assert caught.value.operation == "seal"


def hostile_frame(content: bytes) -> bytes:
    """A frame of ``content``, filled up with empty blocks until it may yield so much."""
    frame = b"".join(zstd_frame._compress(content))
    begin = 5 + (not frame[4] & 0x20) + (frame[4] & 0x20 == 0x20, 2, 4, 8)[frame[4] >> 6]
    blocks = (len(content) - len(frame) * 256 - 2**16) // (3 * 256) + 1
    return frame[:begin] + bytes(3 * max(blocks, 0)) + frame[begin:]


@pytest.mark.parametrize("end", [b"\x0a\x00", b"\xff\xff"], ids=["a payload", "none at its end"])
def test_millions_of_fields_are_refused_for_their_number_before_protobuf_parses_them(end: bytes) -> None:
    """What parses them finds that the second is no payload."""
    content = b"\x0a\x00" * (2**25 - 1) + end
    data = len(content).to_bytes(4, "big") + hostile_frame(content)
    assert len(data) < 2**18 + 2**10
    with pytest.raises(InvalidCiphertext, match=r"^what was sealed is compressed, and has too many fields$"):
        PLAIN.unpack(Payload(metadata={"encoding": COMPRESSED}, data=data))


def with_field(payload: Payload, more: bytes) -> bytes:
    return payload.SerializeToString() + more


REFUSED: dict[str, bytes] = {
    "other metadata": wrapped(TEXT.SerializeToString(), other=b"").SerializeToString(),
    "no name": with_field(wrapped(TEXT.SerializeToString()), b"\x0a\x03\x12\x01v"),
    "mark of the SDK": wrapped(TEXT.SerializeToString(), __temporal_system_payload=b"true").SerializeToString(),
    "external payloads": with_field(wrapped(TEXT.SerializeToString()), b"\x1a\x02\x08\x01"),
    "unknown field": with_field(wrapped(TEXT.SerializeToString()), b"\x7a\x01x"),
    "no payload inside": wrapped(b"\xff\xff").SerializeToString(),
    "nothing": Payload(metadata={"encoding": COMPRESSED}).SerializeToString(),
    "garbage": OWN.SerializeToString(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_in_a_compressed_payload_is_refused(name: str) -> None:
    with pytest.raises(InvalidCiphertext):
        read(PLAIN, REFUSED[name])


def test_other_metadata_of_the_encoding_is_no_matter_of_ours() -> None:
    near = Payload(metadata={"encoding": COMPRESSED + b"2", "x": b"y"}, data=b"z")
    assert read(PLAIN, PLAIN.serialize(near)) == near


@given(
    FORMATS,
    FORMATS,
    st.dictionaries(st.text(max_size=8), st.binary(max_size=20), max_size=3),
    st.sampled_from([b"json/plain", COMPRESSED, COMPRESSED + b"x", b""]),
    st.binary(max_size=300),
    st.integers(0, 200),
)
def test_reading_is_the_inverse_of_writing(
    writer: InnerFormat, reader: InnerFormat, metadata: dict[str, bytes], encoding: bytes, piece: bytes, count: int
) -> None:
    payload = Payload(metadata={**metadata, "encoding": encoding}, data=piece * count)
    assert read(reader, writer.serialize(payload)) == payload


@given(st.sampled_from([ZSTD.serialize(TEXT), PLAIN.serialize(OWN)]), st.data())
def test_no_change_raises_another_error(data: bytes, draws: Any) -> None:
    at = draws.draw(st.integers(0, len(data) - 1))
    changed = bytearray(data[: draws.draw(st.integers(at, len(data)))])
    if at < len(changed):
        changed[at] ^= draws.draw(st.integers(1, 255))
    with suppress(InvalidCiphertext):
        read(PLAIN, bytes(changed))
