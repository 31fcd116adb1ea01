"""The fields of a serialized Payload are bounded before protobuf parses it. The second reader judges alike."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload

from envelope_codec.temporal.payload_fields import MOST_BESIDE_DATA, MOST_FIELDS, find_excess
from tests.support.second_reader import check_fields

START = b"\x12\xd0\x0f" + bytes(2_000)  # data that makes a content long enough to be looked at
LONG = b"\xf0\xa2\x04"  # 70,000, as a length
FIELDS = {
    "metadata": b"\x0a\x00",
    "data": b"\x12\x00",
    "external_payloads": b"\x1a\x00",
    "varint": b"\x78\x01",
    "fixed, 64": b"\x79" + bytes(8),
    "fixed, 32": b"\x7d" + bytes(4),
    "metadata of another wire type": b"\x08\x01",
    "data of another wire type": b"\x10\x01",
}


def is_payload(content: bytes) -> bool:
    try:
        Payload.FromString(content)
    except DecodeError:
        return False
    return True


def second_reader_takes(content: bytes) -> bool:
    try:
        check_fields(content)
    except ValueError:
        return False
    return True


def test_the_bounds_are_those_of_the_specification() -> None:
    assert (MOST_FIELDS, MOST_BESIDE_DATA) == (1_024, 65_536)


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
def test_so_many_fields_and_no_more(field: bytes) -> None:
    most = START + field * 1_023
    assert is_payload(most + field)
    assert find_excess(most) is None
    assert find_excess(most + field) == "has too many fields"


@pytest.mark.parametrize(
    ("begin", "between", "end"),
    [
        (b"", b"\x7b\x7c" * 511, b""),
        (b"\x7b", b"\x78\x01" * 1_020, b"\x7c"),
        (b"\x7b" * 99, b"\x12\x00" * 824, b"\x7c" * 99),
        (b"\x0b", b"\x0a\x00" * 1_020, b"\x0c"),
    ],
    ids=["many", "of many fields", "nested", "of a number that is known"],
)
def test_groups_count_as_their_begin_their_end_and_all_between(begin: bytes, between: bytes, end: bytes) -> None:
    most = START + begin + between + end + b"\x78\x01"
    assert is_payload(most + b"\x78\x01")
    assert find_excess(most) is None
    assert find_excess(most + b"\x78\x01") == "has too many fields"


@pytest.mark.parametrize("tag", [b"\x0a", b"\x1a", b"\x7a", b"\xfa\x7f"], ids=lambda tag: tag.hex())
def test_so_many_bytes_beside_the_data_and_no_more(tag: bytes) -> None:
    def content(beside: int) -> bytes:
        size = beside - len(b"\x12\xd0\x0f") - len(tag) - 3
        return START + tag + bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14]) + b"\x00" * size

    most = content(65_536)
    assert len(most) - 2_000 == 65_536
    assert find_excess(most) is None
    assert find_excess(content(65_537)) == "has too much beside its data"


@pytest.mark.parametrize(
    "content",
    [
        START + b"\x12" + LONG + bytes(70_000),
        b"\x12" + LONG + bytes(70_000) + b"\x12\x01x",
        b"\x7b\x12" + LONG + bytes(70_000) + b"\x7c",
        b"\x92\x80\x00" + LONG[:2] + b"\x84\x80\x00" + bytes(70_000),
        b"\x12\xff\xff\xff\x1f" + bytes(2**26 - 1),
    ],
    ids=["again", "first", "in a group", "long tag", "large"],
)
def test_data_may_be_of_any_size_wherever_it_is(content: bytes) -> None:
    assert is_payload(content)
    assert find_excess(content) is None


@pytest.mark.parametrize(
    "end",
    [
        b"\x12",
        b"\x78",
        b"\x12\x01",
        b"\x12" + b"\xff" * 9 + b"\x01",
        b"\x12\x80",
        b"\x92",
        b"\x79" + bytes(7),
        b"\x7d" + bytes(3),
        b"\x78" + b"\x80" * 10 + b"\x00",
        b"\x80" * 10 + b"\x00",
        b"\x7e\x00",
        b"\x7f\x00",
        b"\x7b\x7e\x00\x7c",
    ],
    ids=lambda end: end.hex(),
)
def test_what_can_not_be_looked_at_to_its_end_is_no_payload(end: bytes) -> None:
    assert not is_payload(START + end)
    assert not second_reader_takes(START + end)
    assert find_excess(START + end) == "is not a payload"


@pytest.mark.parametrize(
    "end",
    [b"\x00\x00", b"\x02\x00", b"\x7c", b"\x7b", b"\x7b\x74", b"\x7b" * 101 + b"\x7c" * 101, b"\x0a\x03\x0a\x01\xff"],
    ids=lambda end: end.hex()[:16],
)
def test_the_rest_of_what_is_no_payload_is_left_to_protobuf(end: bytes) -> None:
    assert not is_payload(START + end)
    assert find_excess(START + end) is None
    assert second_reader_takes(START + end)


@pytest.mark.parametrize("field", [b"\x7b", b"\x7c", b"\x7f", b"\x80"], ids=lambda field: field.hex())
def test_so_few_bytes_keep_the_bounds_whatever_they_are(field: bytes) -> None:
    assert find_excess(field * 1_024) is None
    assert find_excess(field * 1_025) is not None


def test_nothing_behind_the_last_field_that_is_allowed_is_looked_at() -> None:
    assert find_excess(b"\x0a\x00" * 1_025 + b"\xff" * 20) == "has too many fields"
    assert find_excess(b"\x0a\x00" * 1_024 + b"\xff" * 20) == "has too many fields"
    assert find_excess(b"\x0a\x00" * 1_023 + b"\xff" * 20) == "is not a payload"


PIECES = [
    *FIELDS.values(),
    *(b"\x7b\x7c", b"\x7b\x00\x00\x7c", b"\x7b\x02\x00\x7c", b"\x92\x80\x80\x80\x00\x00", b"\x12\x81\x80\x80\x80\x00x"),
    *(b"\x78" + b"\xff" * 9 + b"\x7f", b"\x0a\x06\x0a\x01k\x12\x01v", b"\xfa\xff\xff\xff\x0f\x00", b"\x7b", b"\x7c"),
]
BYTES = st.one_of(st.sampled_from(PIECES), st.binary(max_size=4))


@given(st.lists(BYTES, max_size=12).map(b"".join))
@example(b"\x7b\x00\x00\x7c")
@example(b"\x78" + b"\xff" * 9 + b"\x01")
def test_nothing_that_protobuf_reads_is_refused_within_the_bounds(end: bytes) -> None:
    if is_payload(START + end):
        assert find_excess(START + end) is None


@given(st.lists(BYTES, max_size=6).map(b"".join), st.integers(0, 1_100), st.sampled_from([0, 60_000, 65_500, 70_000]))
def test_the_second_reader_judges_alike(piece: bytes, count: int, size: int) -> None:
    beside = b"\x7a" + bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14]) + bytes(size)
    content = START + beside + piece * count
    assert (find_excess(content) is None) == second_reader_takes(content)
